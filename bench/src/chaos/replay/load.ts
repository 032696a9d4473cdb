import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { toToken, type Gateway } from '@spool/sdk';
import { logEnds, type Kafka } from '@spool/streams';
import { insist } from '../insist.js';
import { Counter, Sums } from './counting.js';

const counters = 40;
const pauseMs = 15;
/** So many answers, that each instance has given some. */
const answers = 8;

/** New events without a pause, and what the read model has to hold because of them. */
export interface Load {
  /** Events so far. */
  readonly events: number;
  /** Sends none until `resume`; resolves when all that were sent are decided. */
  pause(): Promise<void>;
  resume(): void;
  /** Asks again and again while it is paused. @returns what is wrong with the answers, a sentence each */
  wrong(): Promise<readonly string[]>;
  expected(): ReadonlyMap<string, number>;
}

export async function openLoad(gateway: Gateway, kafka: Kafka, topic: string, first: number, over: AbortSignal): Promise<Load> {
  const sent = new Map<string, number>();
  let events = 0;
  let going: Promise<void> | undefined;
  let paused = new AbortController();
  const add = async (): Promise<void> => {
    const id = `c${events++ % counters}`;
    const commandId = randomUUID();
    await insist(() => gateway.send(Counter, 'Add', id, { n: 1 }, { commandId, timeoutMs: 2000 }), over);
    sent.set(id, (sent.get(id) ?? 0) + 1);
  };
  const some = Array.from({ length: 20 }, async () => {
    while (events < first) await add();
  });
  await Promise.all(some);
  return {
    get events() {
      return events;
    },
    async pause() {
      paused.abort();
      await going;
    },
    resume() {
      paused = new AbortController();
      const { signal } = paused;
      going = (async () => {
        while (!signal.aborted) {
          await add();
          await sleep(pauseMs);
        }
      })();
      going.catch(() => undefined);
    },
    async wrong() {
      const after = toToken(await logEnds(kafka, [topic]));
      const found: string[] = [];
      for (let n = 0; n < answers; n++) {
        const { view } = await insist(() => gateway.ask(Sums, 'All', {}, { after, timeoutMs: 5000 }), over);
        const rows = new Map(view.rows.map(({ id, ...row }) => [id, row]));
        found.push(...differences(sent, rows).map((each) => `answer: ${each}`));
      }
      return [...new Set(found)];
    },
    expected: () => sent,
  };
}

/** Rows in which a read model is not what it has to be. */
export function differences(expected: ReadonlyMap<string, number>, rows: ReadonlyMap<string, { sum: number; version: number }>): string[] {
  const found = [...rows.keys()].filter((id) => !expected.has(id)).map((id) => `${id} was never counted`);
  for (const [id, count] of expected) {
    const row = rows.get(id);
    if (row?.sum !== count || row.version !== count)
      found.push(`${id} is ${row === undefined ? 'missing' : `${row.sum} at version ${row.version}`}, and has to be ${count}`);
  }
  return found;
}
