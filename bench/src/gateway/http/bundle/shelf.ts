import { aggregate, bundle, projection, projector, record, table } from '@spool/sdk';
import { Counter } from '../../../commands/contenders/spool.js';

/** Beside the counter, so that what commands cost is not the cost of a read model that follows them. */
const Shelf = aggregate('Shelf', {
  commands: { PutBook: record('bench.PutBook', { title: 'string' }) },
  events: { BookPut: record('bench.BookPut', { title: 'string' }) },
  initial: () => ({ books: 0 }),
  decide: { PutBook: ({ title }) => [{ type: 'BookPut', data: { title } }] },
  evolve: { BookPut: ({ books }) => ({ books: books + 1 }) },
});
const Library = projector('Library', {
  of: Shelf,
  tables: { shelves: table<number>() },
  on: { BookPut: (_, { shelves }, { aggregateId }) => shelves.put(aggregateId, (shelves.get(aggregateId) ?? 0) + 1) },
});
export const Catalogue = projection('Catalogue', {
  reads: Library,
  queries: {
    BooksOn: {
      request: record('bench.BooksOn', { shelf: 'string' }),
      view: record('bench.BooksOnView', { shelf: 'string', books: 'int' }),
    },
  },
  answer: { BooksOn: ({ shelf }, { shelves }) => ({ shelf, books: shelves.get(shelf) ?? 0 }) },
});

export const shop = bundle({ id: 'bench', version: '1.0.0', components: [Counter, Shelf, Library, Catalogue] });
