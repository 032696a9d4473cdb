import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startContender } from '../commands/start.js';
import { hottest } from '../engine/profile.js';
import { median, type Row, type Table } from '../report.js';
import type { Step, Taken } from '../steps.js';

export interface TelemetryOptions {
  readonly brokers: readonly string[];
  /** Of the closed loops. */
  readonly callers: readonly number[];
  /** Commands a second of the open loops. */
  readonly rates: readonly number[];
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly pairs: number;
  /** Also says where Spool's time goes. */
  readonly profile: boolean;
  readonly progress: (line: string) => void;
}

type Contestant = 'spool' | 'silent';
type Metric = 'p50' | 'p99' | 'perSecond' | 'cpuUs';
const aim = 0.05;

/**
 * What telemetry costs the path of commands: the same bundle with it and without it. Both run all the time and are called in turns of a second or so, who goes
 * first alternating; the ratio is the median over the pairs, so that a machine that is slower for a while is slower for both.
 */
export async function benchTelemetry(options: TelemetryOptions): Promise<readonly Table[]> {
  const { brokers, callers, rates, seconds, warmUpSeconds, progress } = options;
  const steps: readonly Step[] = [
    ...callers.map((each) => ({ kind: 'closed', callers: each, seconds, warmUpSeconds }) as const),
    ...rates.map((rate) => ({ kind: 'open', rate, seconds }) as const),
  ];
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const profileDir = options.profile ? join(dataDir, 'profile') : undefined;
  const taken = new Map<string, (Taken & { readonly cpuUs: number })[]>();
  try {
    const start = async (name: Contestant) => {
      const own = { brokers, id: `t${Date.now().toString(36)}-${name}`, dataDir: join(dataDir, name), postgresUrl: '' };
      await mkdir(own.dataDir);
      return startContender(name, own, name === 'spool' ? profileDir : undefined);
    };
    await using spool = await start('spool');
    await using silent = await start('silent');
    const contenders = { spool, silent };
    for (const step of steps) {
      for (let pair = 0; pair < options.pairs; pair++) {
        const order: readonly Contestant[] = pair % 2 === 0 ? ['spool', 'silent'] : ['silent', 'spool'];
        for (const name of order) {
          const { taken: answered, cpuUs } = await contenders[name].take(step);
          const key = keyOf(name, step);
          taken.set(key, [...(taken.get(key) ?? []), { ...answered, cpuUs }]);
          const { perSecond, p50, p99 } = answered;
          progress(
            `pair ${pair + 1}: ${key} ${Math.round(perSecond)}/s p50 ${p50.toFixed(2)} p99 ${p99.toFixed(1)} ms, ${cpuUs.toFixed(0)} us of CPU a command`,
          );
        }
      }
    }
    if (profileDir !== undefined) progress(await hottest(profileDir));
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
  const row = (step: Step, metric: Metric, label: string, unit: string): readonly Row[] => {
    const [on, off] = (['spool', 'silent'] as const).map((name) => taken.get(keyOf(name, step))!.map((each) => each[metric]));
    const ratio = median(on!.map((value, pair) => value / off![pair]!));
    const cost = metric === 'perSecond' ? 1 - ratio : ratio - 1;
    return [
      { label: titleOf(step), metric: `${label} without`, value: median(off!), unit, ratio: null },
      { label: titleOf(step), metric: `${label} with`, value: median(on!), unit, ratio: null },
      { label: titleOf(step), metric: `${label}, cost`, value: cost * 100, unit: cost > aim ? `%, above ${aim * 100}` : '%', ratio: null },
    ];
  };
  const of = (kind: Step['kind'], ...wanted: readonly (readonly [Metric, string, string])[]): readonly Row[] =>
    steps.filter((step) => step.kind === kind).flatMap((step) => wanted.flatMap((each) => row(step, ...each)));
  return [
    {
      name: 'Commands with telemetry and without, closed loop',
      rows: of('closed', ['perSecond', 'answered', '1/s'], ['p50', 'p50', 'ms'], ['p99', 'p99', 'ms'], ['cpuUs', 'CPU', 'us']),
    },
    {
      name: 'Commands with telemetry and without, open loop',
      rows: of('open', ['p50', 'p50', 'ms'], ['p99', 'p99', 'ms'], ['cpuUs', 'CPU', 'us']),
    },
  ];
}

const titleOf = (step: Step): string => (step.kind === 'closed' ? `${step.callers} callers` : `${step.rate}/s`);
const keyOf = (name: Contestant, step: Step): string => `${name}, ${titleOf(step)}`;
