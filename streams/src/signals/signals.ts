import type { BundleSignal } from '@spool/schemas';
import type { ProcessorStatus } from '../engine/work.js';
import { partitionKey } from '../store/store.js';
import { saturation, type InFlight } from '../telemetry/instance-metrics.js';
import type { Resources } from '../telemetry/resources.js';
import { createFeeling } from './feeling.js';
import type { WorkMeter } from './work-meter.js';

export interface Sensed {
  readonly at: number;
  readonly processors: readonly ProcessorStatus[];
  readonly resources: Resources;
  readonly load: InFlight;
}

type Signal = Omit<BundleSignal, 'bundle' | 'version' | 'instance' | 'incarnation' | 'ready'>;

/** Makes of what an instance measures what it tells the balancer. Rates are those since the signal before. */
export function createSignals(work: WorkMeter): (sensed: Sensed) => Signal {
  const feel = createFeeling();
  let before = new Map<string, { readonly position: bigint; readonly end: bigint }>();
  let lastAt: number | undefined;
  return ({ at, processors, resources, load }) => {
    // A processor that is held, or stuck at a record, keeps no instance busy however many there are.
    const open = processors.filter(({ paused, state }) => !paused && state !== 'failed');
    const now = new Map(
      open.flatMap(({ consumer, partitions }) => partitions.map((each) => [`${consumer}/${partitionKey(each)}`, each] as const)),
    );
    const seconds = lastAt === undefined ? 0 : (at - lastAt) / 1000;
    const rate = (count: number): number => (seconds > 0 ? count / seconds : 0);
    let arrived = 0;
    let departed = 0;
    let lag = 0;
    for (const [key, { position, end }] of now) {
      const last = before.get(key);
      if (end > position) lag += Number(end - position);
      if (last === undefined) continue;
      arrived += Math.max(0, Number(end - last.end));
      departed += Math.max(0, Number(position - last.position));
    }
    const moved = lastAt !== undefined && (now.size !== before.size || [...now.keys()].some((key) => !before.has(key)));
    const settling = open.some(({ state }) => state === 'starting' || state === 'restoring');
    const replaying = processors.some(({ state }) => state === 'replaying');
    const { handled, failed, p99Ms } = work.take();
    lastAt = at;
    before = new Map([...now].map(([key, { position, end }]) => [key, { position, end }]));
    return {
      arrivals: rate(arrived),
      departures: rate(departed),
      failures: rate(failed),
      handled: rate(handled),
      p99Ms,
      inFlight: load.inFlight,
      utilisation: Math.min(1, Math.max(resources.eventLoopUtilization, saturation(load))),
      lag,
      lagSeconds: Math.max(0, ...[...now.values()].map(({ lagSeconds }) => lagSeconds)),
      partitions: Math.max(0, ...open.filter(({ shared }) => shared).map(tasksOf)),
      eventLoopDelayMs: resources.eventLoopLagMs,
      rssBytes: resources.rssBytes,
      feeling: feel({ at, arrived, departed, waiting: lag }),
      frozen: replaying ? 'replay' : moved || settling ? 'rebalance' : null,
      at,
    };
  };
}

/** What one of several topics has in a partition is handled with what the others have there. */
const tasksOf = ({ partitions }: ProcessorStatus): number => new Set(partitions.map(({ partition }) => partition)).size;
