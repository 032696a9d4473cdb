import { SpoolError } from '@spool/schemas';
import { logEnds, splitPartitionKey, type Instance, type Offset } from '@spool/streams';
import type pg from 'pg';
import { reached } from '../position/token.js';
import { beginnings, createWaiting, type HomeRequest, type ModelHome, type ReadModel } from '../projector/read-model.js';
import { fromOffsets, type CheckpointRow } from './checkpoint.js';
import type { PostgresDatabase } from './database.js';
import { inSchema, prepareSchema } from './schema.js';
import { toSqlError, type Sql } from './sql.js';
import { openPostgresStore } from './store.js';

/** How often those who wait for a position look for themselves, should nobody tell of a commit. */
const lookMs = 1000;

/** @throws SpoolError INVALID_CONFIG, UNAVAILABLE */
export async function openPostgresHome(
  { instance, projector, sources, consumer, postgres }: HomeRequest,
  tables: string,
): Promise<ModelHome> {
  if (postgres === undefined) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `${projector.name} keeps its read model in PostgreSQL: give startBundle a database, as postgres: await openPostgres({ url })`,
    );
  }
  const schema = await prepareSchema(postgres, `${instance.topics.namespace}${consumer}`, tables);
  const { model, close } = await openModel(instance, postgres, schema, sources);
  return {
    model,
    close,
    assignment: 'group',
    async open({ id, partitions }) {
      const store = await openPostgresStore({ database: postgres, schema, task: id, partitions });
      return { store, tables: () => store.sql };
    },
    // The server tells all instances, this one among them.
    committed: () => undefined,
  };
}

/** What all instances have written together. */
async function openModel(
  instance: Instance,
  database: PostgresDatabase,
  schema: string,
  sources: readonly string[],
): Promise<{ readonly model: ReadModel; readonly close: () => Promise<void> }> {
  const { kafka, now, log } = instance;
  const unread = beginnings([...(await logEnds(kafka, sources)).keys()].map(splitPartitionKey));
  const waiting = createWaiting();
  let positions: ReadonlyMap<string, Offset> = unread;
  const read: ReadModel['read'] = async (answer) => {
    const client = await database.reader();
    let broken: Error | undefined;
    const query = <T>(work: () => Promise<T>): Promise<T> =>
      work().catch((thrown: unknown) => {
        throw toSqlError(thrown);
      });
    try {
      // One snapshot for the position and all that the answer reads.
      const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ${inSchema(schema)}; SELECT positions FROM spool_positions`;
      const results = (await query(() => client.query(begin))) as unknown as pg.QueryResult<CheckpointRow>[];
      const at = new Map(results.at(-1)!.rows.flatMap(({ positions: of }) => [...fromOffsets(of)]));
      const sql: Sql = { query: (text, values) => query(() => client.query(text, values === undefined ? undefined : [...values])) };
      return { positions: at, found: await answer(sql as never) };
    } finally {
      // Nothing was written: how it ends is all the same.
      await client.query('COMMIT').catch((error: unknown) => (broken = error as Error));
      client.release(broken);
    }
  };

  // Commits that come while one look is under way are found by the next.
  let closed = false;
  let looking = false;
  let stale = false;
  const look = async (): Promise<void> => {
    stale = true;
    if (looking || closed) return;
    looking = true;
    try {
      while (stale) {
        stale = false;
        positions = new Map([...unread, ...(await read(() => undefined)).positions]);
        waiting.tell();
      }
    } catch (error) {
      // The next commit, or the connection that hears of commits when it is back, looks again.
      log('warn', 'the position of a read model was not read', { schema, error: (error as Error).message });
    } finally {
      looking = false;
    }
  };
  const forget = database.onCommit(schema, () => void look());
  await look();
  const reach: ReadModel['reach'] = async (position, deadline) => {
    const ends = performance.now() + deadline - now();
    for (;;) {
      const leftMs = ends - performance.now();
      try {
        await waiting.reach(() => positions, position, Math.min(leftMs, lookMs));
        return;
      } catch (late) {
        if (leftMs <= lookMs) throw late;
        await look();
      }
    }
  };
  const model: ReadModel = {
    get positions() {
      return positions;
    },
    read,
    reach,
    onCommit: waiting.add,
    async caughtUp(signal) {
      const heads = await logEnds(kafka, sources);
      while (!reached(positions, heads)) {
        signal.throwIfAborted();
        await waiting.reach(() => positions, heads, lookMs).catch(look);
      }
    },
  };
  const close = (): Promise<void> => {
    closed = true;
    forget();
    return Promise.resolve();
  };
  return { model, close };
}
