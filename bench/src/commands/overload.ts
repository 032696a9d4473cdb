import { readMeta } from '@spool/schemas';
import { connectKafka, readTopic, topicCatalogue } from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import { closedLoop, type Call } from '../load.js';
import { quantile } from '../report.js';

export interface OverloadStep {
  readonly kind: 'overload';
  readonly seconds: number;
  /** Of each command, in milliseconds. */
  readonly timeoutMs: number;
}
/** Each a second. */
export interface Offered {
  readonly offered: number;
  /** Answered in time. */
  readonly goodput: number;
  readonly refused: number;
  /** Began, and had no answer by their deadline. */
  readonly late: number;
  /** Milliseconds from the moment at which a call was to begin to its answer, of those that were answered. */
  readonly p50: number;
  readonly p99: number;
}
export interface OverloadTaken extends Omit<Offered, 'p50' | 'p99'> {
  /** What so many callers get as fast as they can. */
  readonly peak: number;
}

const callers = 1024;
const times = 3;
/** A peak that is taken cold is no peak. */
const warmUpSeconds = 3;
const turns = 3;

/**
 * Measures the most that there is, then offers three times as much, whatever the answers do; and again, in turns, since a machine that others use
 * gives more at one moment than at the next.
 */
export async function overload(call: (timeoutMs?: number) => ReturnType<Call>, step: OverloadStep): Promise<OverloadTaken> {
  const taken: OverloadTaken[] = [];
  for (let turn = 0; turn < turns; turn++) {
    const { perSecond: peak } = await closedLoop(() => call(), callers, step.seconds, turn === 0 ? warmUpSeconds : 1);
    taken.push({ peak, ...(await offer(call, peak * times, step)) });
  }
  const mean = (of: keyof OverloadTaken): number => taken.reduce((sum, each) => sum + each[of], 0) / turns;
  return { peak: mean('peak'), offered: mean('offered'), goodput: mean('goodput'), refused: mean('refused'), late: mean('late') };
}

/** So many calls a second, whatever the answers do. */
export async function offer(
  call: (timeoutMs?: number) => ReturnType<Call>,
  rate: number,
  { seconds, timeoutMs }: Omit<OverloadStep, 'kind'>,
): Promise<Offered> {
  const latencies: number[] = [];
  let counted = false;
  let [good, refused, late, began] = [0, 0, 0, 0];
  let waiting = 0;
  const start = performance.now();
  const warmMs = 1000;
  let sent = 0;
  let countedSince = 0;
  while (performance.now() - start < warmMs + seconds * 1000) {
    if (!counted && performance.now() - start >= warmMs) {
      counted = true;
      countedSince = performance.now();
    }
    // A loop that was held up has its calls at once afterwards, as those who call from outside would.
    for (const due = ((performance.now() - start) * rate) / 1000; sent < due; sent++) {
      const inWindow = counted;
      const intended = start + (sent * 1000) / rate;
      if (inWindow) began += 1;
      waiting += 1;
      call(timeoutMs).then(
        () => {
          waiting -= 1;
          const latency = performance.now() - intended;
          if (latency > timeoutMs) late += inWindow ? 1 : 0;
          else if (counted) {
            good += 1;
            latencies.push(latency);
          }
        },
        (thrown: unknown) => {
          waiting -= 1;
          if (!inWindow) return;
          if ((thrown as { code?: string }).code === 'OVERLOADED') refused += 1;
          else late += 1;
        },
      );
    }
    await sleep(1);
  }
  const elapsed = (performance.now() - countedSince) / 1000;
  const goodput = good / elapsed;
  counted = false;
  for (const end = performance.now() + 2 * timeoutMs; waiting > 0 && performance.now() < end;) await sleep(5);
  const sorted = latencies.sort((a, b) => a - b);
  return {
    ...{ offered: began / elapsed, goodput, refused: refused / elapsed, late: late / elapsed },
    ...{ p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) },
  };
}

/** How many events of the log were decided after the deadline of their command, of how many that had one. */
export async function executedLate(
  brokers: readonly string[],
  namespace: string,
  aggregate: string,
): Promise<{ late: number; of: number }> {
  const topics = topicCatalogue({ namespace });
  await using kafka = await connectKafka({ brokers, clientId: 'bench' });
  const deadlines = new Map<string, number>();
  for (const { headers } of await readTopic(kafka, topics.commands(aggregate).name)) {
    const { id, deadline } = readMeta(headers);
    if (id !== undefined && deadline !== undefined) deadlines.set(id, deadline);
  }
  let late = 0;
  let of = 0;
  for (const { headers } of await readTopic(kafka, topics.events(aggregate).name)) {
    const { commandId = '', time = 0 } = readMeta(headers);
    of += 1;
    if (time > (deadlines.get(commandId) ?? 0)) late += 1;
  }
  return { late, of };
}
