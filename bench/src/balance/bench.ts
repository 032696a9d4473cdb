import type { Row, Table } from '../report.js';
import { dayOfLoad } from './load.js';
import { evento, fixed, keda, ours } from './rules.js';
import { simulate, type SimulatedBundle } from './simulate.js';

export interface BalanceOptions {
  readonly bundles: number;
  readonly hours: number;
  readonly progress: (line: string) => void;
}

/** Together 1,000 instances at the most and 10,000 partitions, with fifty bundles. */
const bundle: SimulatedBundle = {
  min: 1,
  max: 20,
  capacity: 100,
  objectiveSeconds: 30,
  drainMs: 30_000,
  startSeconds: 20,
  rebalanceSeconds: 3,
};
const partitions = 200;
const mean = 500;

/** A day of load under the platform's own decisions, and under the rules of others, second by second, without a broker. The floor is the maximum of instances all day. */
export function benchBalance({ bundles, hours, progress }: BalanceOptions): readonly Table[] {
  const seconds = hours * 3600;
  const rows: Row[] = [];
  let floorHours = 0;
  for (const rule of [fixed, ours, keda(1), keda(5), evento]) {
    const began = performance.now();
    const sum = { records: 0, late: 0, instanceSeconds: 0, changes: 0, reversals: 0 };
    for (let index = 0; index < bundles; index++) {
      const taken = simulate(bundle, dayOfLoad(index + 1, { partitions, mean: mean * (0.4 + (index % 7) / 5), seconds }), rule);
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += taken[name];
    }
    const instanceHours = sum.instanceSeconds / 3600;
    if (rule === fixed) floorHours = instanceHours;
    const row = (metric: string, value: number, unit: string, ratio: number | null = null): Row => ({
      label: rule.name,
      metric,
      value,
      unit,
      ratio,
    });
    rows.push(
      row('cost', instanceHours, 'instance hours', instanceHours / floorHours),
      row('objective missed', (100 * sum.late) / sum.records, '% of records'),
      row('changes', sum.changes / bundles / (hours / 24), 'a bundle and day'),
      row('undone within ten minutes', sum.reversals / bundles / (hours / 24), 'a bundle and day'),
    );
    progress(`${rule.name}: ${(sum.records / 1e6).toFixed(0)} M records simulated in ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  const name = `${bundles} bundles with ${bundles * partitions} partitions and up to ${bundles * bundle.max} instances, ${hours} h (floor: all instances all the time)`;
  return [{ name, rows }];
}
