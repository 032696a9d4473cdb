import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, optional, record, upcaster, withDefault, type Codec, type Upcaster } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type Kafka } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle, type Bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';

const Named = record('air.PassengerNamed', { name: 'string' });
const Registered = record('air.PassengerRegistered', { first: 'string', last: 'string' });
const Moved = record('air.PassengerMoved', { city: 'string' });
const Moved2 = record('air.PassengerMoved', { city: 'string', country: withDefault('string', '') }, { version: 2 });

/** As the first version of the code had it. */
const Former = aggregate('Passenger', {
  commands: { Name: record('air.Name', { name: 'string' }), Move: record('air.Move', { city: 'string' }) },
  events: { PassengerNamed: Named, PassengerMoved: Moved },
  initial: () => ({ name: '' }),
  decide: {
    Name: ({ name }) => [{ type: 'PassengerNamed', data: { name } }],
    Move: ({ city }) => [{ type: 'PassengerMoved', data: { city } }],
  },
  evolve: { PassengerNamed: (_, { name }) => ({ name }), PassengerMoved: (state) => state },
});
/** An event has another name and other fields now, the other has one more. */
const Passenger = aggregate('Passenger', {
  commands: { Greet: record('air.Greet', {}) },
  events: { PassengerRegistered: Registered, PassengerMoved: Moved2, PassengerGreeted: record('air.PassengerGreeted', { text: 'string' }) },
  initial: () => ({ last: '', country: '' }),
  decide: { Greet: (_, { last, country }) => [{ type: 'PassengerGreeted', data: { text: `Dear ${last} of ${country}` } }] },
  evolve: {
    PassengerRegistered: (state, { last }) => ({ ...state, last }),
    PassengerMoved: (state, { country }) => ({ ...state, country }),
    PassengerGreeted: (state) => state,
  },
  codeVersion: '2',
});
interface Row {
  readonly first?: string;
  readonly country?: string;
  readonly text?: string;
}
const Cards = projector('Cards', {
  of: Passenger,
  tables: { cards: table<Row>() },
  on: {
    PassengerRegistered: ({ first }, { cards }, { aggregateId }) => cards.put(aggregateId, { ...cards.get(aggregateId), first }),
    PassengerMoved: ({ country }, { cards }, { aggregateId }) => cards.put(aggregateId, { ...cards.get(aggregateId), country }),
    PassengerGreeted: ({ text }, { cards }, { aggregateId }) => cards.put(aggregateId, { ...cards.get(aggregateId), text }),
  },
});
const Card = projection('Card', {
  reads: Cards,
  queries: {
    CardOf: {
      request: record('air.CardOf', { id: 'string' }),
      view: record('air.CardView', { first: optional('string'), country: optional('string'), text: optional('string') }),
    },
  },
  answer: {
    CardOf: ({ id }, { cards }) => {
      const row = cards.get(id);
      return row === undefined ? undefined : { first: row.first ?? null, country: row.country ?? null, text: row.text ?? null };
    },
  },
});
const split = upcaster(Named, Registered, ({ name }) => ({ first: name.split(' ')[0]!, last: name.split(' ')[1] ?? '' }));
const place = upcaster(Moved, Moved2, ({ city }) => ({ city, country: city === 'Paris' ? 'France' : '' }));

let kafka: Kafka;
let codec: Codec;
let dataDir: string;
beforeEach(() => {
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-upcasters-'));
});
afterEach(async () => {
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
const start = (of: Bundle): Promise<RunningBundle> =>
  startBundle(of, { kafka, codec, topics: topicCatalogue({ partitions: 1 }), instance: 'air-0', dataDir, log: () => undefined });

async function greeted(upcasters: readonly Upcaster[]): Promise<unknown> {
  const before = await start(bundle({ id: 'air', version: '1.0.0', components: [Former] }));
  await before.gateway.send(Former, 'Name', 'p1', { name: 'Ada Lovelace' });
  await before.gateway.send(Former, 'Move', 'p1', { city: 'Paris' });
  await before.close();
  await using after = await start(bundle({ id: 'air', version: '2.0.0', components: [Passenger, Cards, Card], upcasters }));
  const { position } = await after.gateway.send(Passenger, 'Greet', 'p1', {}, { expectedVersion: 2 });
  return (await after.gateway.ask(Card, 'CardOf', { id: 'p1' }, { after: position })).view;
}

describe('the upcasters of a bundle', () => {
  it('bring events of former names and shapes to the aggregate and the projector of now', async () => {
    expect(await greeted([split, place])).toEqual({ first: 'Ada', country: 'France', text: 'Dear Lovelace of France' });
  });

  it('are all that does: without them a former name is passed over and a new field has its default', async () => {
    expect(await greeted([])).toEqual({ first: null, country: '', text: 'Dear  of ' });
  });
});
