import type { ProcessorStatus } from '../engine/work.js';
import type { KafkaCounts } from './counted-kafka.js';
import type { Telemetry } from './emitter.js';
import type { Resources } from './resources.js';

/** How much is under way, of how much at the most. */
export interface InFlight {
  readonly inFlight: number;
  readonly limit: number;
}
/** The part of the limit that is in use; 0 without a limit. */
export const saturation = ({ inFlight, limit }: InFlight): number => (limit === 0 ? 0 : inFlight / limit);

export interface InstanceFigures {
  readonly telemetry: Telemetry;
  readonly resources: Resources;
  readonly load: InFlight;
  readonly counts: KafkaCounts;
  readonly processors: readonly ProcessorStatus[];
  readonly at: number;
}

/** What an instance measures of itself, as metrics and as the lag of its processors. */
export function tellMetrics({ telemetry, resources, load, counts, processors, at }: InstanceFigures): void {
  for (const [name, metric, unit] of [
    ['process.cpu.utilization', resources.cpu, '1'],
    ['process.memory.rss', resources.rssBytes, 'By'],
    ['nodejs.heap.used', resources.heapUsedBytes, 'By'],
    ['nodejs.heap.total', resources.heapTotalBytes, 'By'],
    ['nodejs.gc.utilization', resources.gc, '1'],
    ['nodejs.eventloop.delay.mean', resources.eventLoopLagMs, 'ms'],
    ['nodejs.eventloop.utilization', resources.eventLoopUtilization, '1'],
    ['spool.in_flight', load.inFlight, '1'],
    ['spool.saturation', saturation(load), '1'],
    ['spool.telemetry.spans', telemetry.spans, '1'],
    ['spool.telemetry.dropped', telemetry.dropped, '1'],
    ['spool.telemetry.left_out', telemetry.leftOut, '1'],
    ['spool.rebalances', counts.rebalances, '1'],
  ] as const) {
    telemetry.metric({ name, value: metric, unit, attributes: {}, at });
  }
  for (const [topic, value] of counts.written)
    telemetry.metric({ name: 'spool.records.written', value, unit: '1', attributes: { topic }, at });
  for (const [code, value] of counts.failed)
    telemetry.metric({ name: 'spool.producer.errors', value, unit: '1', attributes: { code }, at });
  for (const status of processors) {
    for (const { topic, partition, position, end, lagSeconds } of status.partitions) {
      const records = end > position ? Number(end - position) : 0;
      telemetry.lag({
        consumer: status.consumer,
        topic,
        partition,
        position: Number(position),
        end: Number(end),
        records,
        seconds: lagSeconds,
        at,
      });
    }
  }
}
