import { setImmediate as yieldNow, setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ReplayDifferenceSchema, ReplayReportSchema, type ReplayDifference, type ReplayReport } from '@spool/schemas';
import { offset, splitPartitionKey, type Instance, type Offset, type ReadonlyTable } from '@spool/streams';
import { isAt, positionsOf, type Copy } from './copy.js';

type Counts = ReplayReport['tables'][number];
type Reads = Pick<ReadonlyTable<unknown>, 'range'>;

const lookMs = 20;
const samplesPerTable = 20;
const rowsPerTurn = 500;

export interface ComparerOptions {
  readonly instance: Instance;
  readonly consumer: string;
  readonly tables: readonly string[];
}

/** Compares two copies at one position, and writes what it finds to Kafka. */
export function createComparer({ instance, consumer, tables }: ComparerOptions) {
  const { codec, topics, producer } = instance;
  return {
    /** Ends when the report is written; both copies stand still while rows are compared. */
    async compare(job: string, live: Copy, copy: Copy, signal: AbortSignal): Promise<void> {
      const until = async (condition: () => boolean): Promise<void> => {
        while (!condition()) await sleep(lookMs, undefined, { signal });
      };
      // 1. The copy has been built.
      await until(() => copy.processor.status().replays.every(({ state }) => state !== 'running' && state !== 'paused'));
      // 2. Both go to where the further one is, and wait.
      const here = new Map([...positionsOf(live).keys()].map((key) => [key, offset(0)]));
      await Promise.all([live.processor.until(here), copy.processor.until(here)]);
      const [a, b] = [positionsOf(live), positionsOf(copy)];
      const cut = new Map([...a].map(([key, at]) => [key, further(at, b.get(key))]));
      await Promise.all([live.processor.until(cut), copy.processor.until(cut)]);
      await until(() => isAt(live, cut) && isAt(copy, cut));
      // 3. Row by row.
      const differences = await codec.encoder(topics.differences.name, ReplayDifferenceSchema);
      const reports = await codec.encoder(topics.replayJobs.name, ReplayReportSchema);
      const attempt = `${instance.incarnation}-${instance.now()}`;
      const samples: ReplayDifference[] = [];
      const counts: Counts[] = [];
      let pending: ReplayDifference[] = [];
      const span = { first: 0, end: 0 };
      const flush = async (): Promise<void> => {
        signal.throwIfAborted();
        const places = await producer.sendAll(
          pending.map((each) => ({ topic: topics.differences.name, key: job, value: differences.encode(each) })),
        );
        const offsets = places.map((place) => Number(place.offset));
        if (span.end === 0) span.first = offsets[0] ?? 0;
        span.end = Math.max(span.end, ...offsets.map((at) => at + 1));
        pending = [];
      };
      for (const table of tables) {
        const before = samples.length;
        const { found: read } = await live.model.read((left) =>
          copy.model.read((right) =>
            compareRows(table, (left as Record<string, Reads>)[table]!, (right as Record<string, Reads>)[table]!, async (found) => {
              const difference = { attempt, table, ...found };
              if (samples.length - before < samplesPerTable) samples.push(difference);
              if (pending.push(difference) >= rowsPerTurn) await flush();
            }),
          ),
        );
        counts.push(read.found);
      }
      await flush();
      const report: ReplayReport = {
        ...{ job, instance: instance.id, attempt, samples, tables: counts, at: instance.now() },
        positions: [...cut].map(([key, at]) => ({ ...splitPartitionKey(key), offset: Number(at) })),
        ...span,
      };
      await producer.send({
        topic: topics.replayJobs.name,
        key: `${job}/${consumer}/${instance.id}/report`,
        value: reports.encode(report),
      });
      await live.processor.until(undefined);
    },
  };
}

const further = (at: Offset, other: Offset | undefined): Offset => (other !== undefined && other > at ? other : at);

interface RowDifference {
  readonly key: string;
  readonly live: string | null;
  readonly copy: string | null;
}

/** Both in the order of their keys' bytes, side by side: memory does not grow with the table. */
async function compareRows(table: string, live: Reads, copy: Reads, found: (difference: RowDifference) => Promise<void>): Promise<Counts> {
  const counts = { table, rows: 0, copyRows: 0, added: 0, removed: 0, changed: 0 };
  const [lefts, rights] = [live.range()[Symbol.iterator](), copy.range()[Symbol.iterator]()];
  let [left, right] = [lefts.next(), rights.next()];
  for (let turn = 1; left.done !== true || right.done !== true; turn++) {
    const order =
      left.done === true ? 1 : right.done === true ? -1 : Buffer.compare(Buffer.from(left.value[0]), Buffer.from(right.value[0]));
    const [mine, theirs] = [order <= 0 ? left.value : undefined, order >= 0 ? right.value : undefined] as (
      readonly [string, unknown] | undefined
    )[];
    if (mine !== undefined) {
      counts.rows += 1;
      left = lefts.next();
    }
    if (theirs !== undefined) {
      counts.copyRows += 1;
      right = rights.next();
    }
    if (mine === undefined || theirs === undefined || !isDeepStrictEqual(mine[1], theirs[1])) {
      counts[mine === undefined ? 'added' : theirs === undefined ? 'removed' : 'changed'] += 1;
      await found({ key: (mine ?? theirs)![0], live: json(mine), copy: json(theirs) });
    }
    if (turn % rowsPerTurn === 0) await yieldNow();
  }
  return counts;
}

/** Longs beyond what JSON numbers hold are text. */
const json = (row: readonly [string, unknown] | undefined): string | null =>
  row === undefined ? null : JSON.stringify(row[1], (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
