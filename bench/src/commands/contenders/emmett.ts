import { CommandHandler, type Event } from '@event-driven-io/emmett';
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import { anyAggregate, type Contender, type ContenderConfig } from './contender.js';

type Added = Event<'Added', { n: number; pad: string }>;
interface Counter {
  readonly count: number;
  readonly sum: number;
}

/** Emmett as its users have it: the stream is read and folded for each command, and appended to at the version that was read; a conflict is tried again. */
export async function startEmmett({ postgresUrl, id }: ContenderConfig): Promise<Contender> {
  const store = getPostgreSQLEventStore(postgresUrl);
  await store.schema.migrate();
  const handle = CommandHandler<Counter, Added>({
    initialState: () => ({ count: 0, sum: 0 }),
    evolve: ({ count, sum }, { data }) => ({ count: count + 1, sum: sum + data.n }),
    retry: { onVersionConflict: 50 },
  });
  const pad = 'x'.repeat(170);
  return {
    call: () => handle(store, `${id}-${anyAggregate()}`, () => ({ type: 'Added', data: { n: 1, pad } })),
    close: () => store.close(),
  };
}
