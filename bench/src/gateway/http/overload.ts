import type { Offered } from '../../commands/overload.js';
import type { Measured } from '../../load.js';
import { median, type Row, type Table } from '../../report.js';
import { next, start } from '../processes.js';
import type { HttpBenchOptions } from './bench.js';
import type { Closed, Offer } from './orders.js';
import { livesSeconds } from './requests.js';

const callers = 512;
const warmUpSeconds = 3;
/** How much is offered, in times of what can be answered. */
const times = [0.5, 1, 1.5, 2, 3, 4];

/**
 * What callers who wait for their answers get at the most, and goodput from half to four times as much, with arrivals by the clock. The capacity is measured anew
 * before each, since a machine that others use gives more at one moment than at the next. An open loop may get more than that: what waits goes to Kafka together.
 */
export async function benchHttpOverload(options: Pick<HttpBenchOptions, 'platform' | 'seconds' | 'rounds' | 'progress'>): Promise<Table> {
  const { platform, progress, seconds } = options;
  const { port } = platform;
  const child = start('http/main.js', 'callers');
  const capacities: number[] = [];
  const taken = new Map<number, (Offered & { readonly ofCapacity: number })[]>();
  try {
    const ask = async <T>(order: Closed | Offer): Promise<T> => {
      const answer = next<T>(child);
      child.send(order);
      return answer;
    };
    const closed = (long: number) => ask<Measured>({ kind: 'closed', port, asked: 'command', callers, seconds: long });
    await closed(warmUpSeconds);
    for (let round = 0; round < options.rounds; round++) {
      for (const many of times) {
        const { perSecond: capacity } = await closed(seconds / 2);
        capacities.push(capacity);
        const offered = await ask<Offered>({ kind: 'offer', port, rate: capacity * many, seconds });
        taken.set(many, [...(taken.get(many) ?? []), { ...offered, ofCapacity: offered.goodput / capacity }]);
        const shown = Object.entries(offered).map(([name, value]) => `${name} ${Number(value).toFixed(0)}`);
        progress(`round ${round + 1}: ${many} x capacity ${capacity.toFixed(0)}: ${shown.join(', ')}`);
      }
    }
  } finally {
    child.kill('SIGKILL');
  }
  const rows = times.flatMap((many): Row[] => {
    const of = (metric: keyof Offered | 'ofCapacity'): number => median((taken.get(many) ?? []).map((each) => each[metric]));
    const row = (metric: string, value: number, unit: string): Row => ({ label: `${many} x`, metric, value, unit, ratio: null });
    return [
      row('offered', of('offered'), '1/s'),
      { ...row('answered in time', of('goodput'), '1/s'), ratio: of('ofCapacity') },
      row('refused with 503', of('refused'), '1/s'),
      row('neither in time', of('late'), '1/s'),
      row('p50 of the answered', of('p50'), 'ms'),
      row('p99 of the answered', of('p99'), 'ms'),
    ];
  });
  const peak: Row = { label: `${callers} callers`, metric: 'capacity', value: median(capacities), unit: '1/s', ratio: null };
  return {
    name: `Overload over HTTP, arrivals by the clock, each command with ${livesSeconds} s to live (floor: the capacity, measured just before)`,
    rows: [peak, ...rows],
  };
}
