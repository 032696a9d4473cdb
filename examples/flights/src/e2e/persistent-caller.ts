import { setTimeout as sleep } from 'node:timers/promises';
import { request, type Demo } from './demo.js';

/** Disposing of it gives up what is under way. */
export interface PersistentCaller extends AsyncDisposable {
  /** Ids of the flights whose schedule was acknowledged; the id of the command is the flight's. */
  readonly acknowledged: readonly string[];
  /** Attempts that gave no definite answer. */
  readonly retries: () => number;
  /** Resolves when so many more are acknowledged. @throws Error as `stop` does, and when it takes longer than one answer may */
  untilMore(count: number): Promise<void>;
  /** Finishes what is under way. @throws Error for an answer that is neither an acknowledgement nor a reason to try again */
  stop(): Promise<void>;
}

const callers = 4;
const pauseMs = 25;
const giveUpMs = 120_000;

/** Schedules flights over HTTP without a break, each again under the same Idempotency-Key until it is acknowledged. */
export function persistentCaller(demo: Demo): PersistentCaller {
  const acknowledged: string[] = [];
  let next = 0;
  let retries = 0;
  let stopping = false;
  const giveUp = new AbortController();
  const call = async (): Promise<void> => {
    while (!stopping) {
      const id = `caller-${next++}`;
      await schedule(demo, id, giveUp.signal, () => (retries += 1));
      acknowledged.push(id);
      await sleep(pauseMs);
    }
  };
  const running = Array.from({ length: callers }, call);
  const calls = Promise.all(running);
  // A failure is told to who waits, and is not to end the process before.
  calls.catch(() => undefined);
  return {
    acknowledged,
    retries: () => retries,
    untilMore: async (count) => {
      const wanted = acknowledged.length + count;
      const deadline = performance.now() + giveUpMs;
      while (acknowledged.length < wanted) {
        if (performance.now() > deadline) throw new Error(`${acknowledged.length} of ${wanted} acknowledged within ${giveUpMs} ms`);
        await Promise.race([calls, sleep(20)]);
      }
    },
    stop: async () => {
      stopping = true;
      await calls;
    },
    [Symbol.asyncDispose]: async () => {
      stopping = true;
      giveUp.abort();
      await Promise.allSettled(running);
    },
  };
}

async function schedule(demo: Demo, id: string, signal: AbortSignal, onRetry: () => void): Promise<void> {
  const payload = { origin: 'SFO', destination: 'FRA', distance: 5682, scheduledAt: 994260600000 };
  const deadline = performance.now() + giveUpMs;
  for (;;) {
    // The connection may break before the answer, as the answer may say that nobody knows.
    const reply = await request(
      demo,
      'POST',
      '/api/v1/commands/ScheduleFlight',
      { aggregateId: id, payload },
      { 'idempotency-key': id },
    ).catch((error: unknown) => ({ status: 0, body: { error: String(error) } }));
    if (reply.status === 200) return;
    const told = `${id}: ${reply.status} ${JSON.stringify(reply.body)}`;
    if (![0, 503, 504].includes(reply.status)) throw new Error(told);
    if (performance.now() > deadline) throw new Error(`no definite answer within ${giveUpMs} ms, last ${told}`);
    onRetry();
    await sleep(200, undefined, { signal });
  }
}
