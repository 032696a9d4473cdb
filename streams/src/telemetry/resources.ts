import { monitorEventLoopDelay, performance, PerformanceObserver } from 'node:perf_hooks';

/** What a process took since the measurement before. */
export interface Resources {
  /** Of one core: 1.5 is one and a half of them. */
  readonly cpu: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  /** Milliseconds beyond what was asked for, on average. */
  readonly eventLoopLagMs: number;
  /** Share of the time in which the event loop was at work, 0 to 1. */
  readonly eventLoopUtilization: number;
  /** Share of the time in which the garbage collector was at work, 0 to 1. */
  readonly gc: number;
}

export interface ResourceMeter {
  measure(): Resources;
  close(): void;
}

/** @param now the clock by which shares are reckoned, in milliseconds */
export function createResourceMeter(now: () => number): ResourceMeter {
  const loop = monitorEventLoopDelay({ resolution: 20 });
  loop.enable();
  let gcMs = 0;
  const collections = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) gcMs += duration;
  });
  collections.observe({ entryTypes: ['gc'] });
  let cpu = process.cpuUsage();
  let utilization = performance.eventLoopUtilization();
  let measuredAt = now();
  return {
    measure() {
      const at = now();
      const used = process.cpuUsage(cpu);
      cpu = process.cpuUsage();
      const tookMs = at - measuredAt;
      measuredAt = at;
      const share = (ms: number): number => (tookMs > 0 ? ms / tookMs : 0);
      const before = utilization;
      utilization = performance.eventLoopUtilization();
      const { rss, heapUsed, heapTotal } = process.memoryUsage();
      const resources: Resources = {
        cpu: share((used.user + used.system) / 1000),
        rssBytes: rss,
        heapUsedBytes: heapUsed,
        heapTotalBytes: heapTotal,
        eventLoopLagMs: Number.isNaN(loop.mean) ? 0 : loop.mean / 1e6,
        eventLoopUtilization: performance.eventLoopUtilization(utilization, before).utilization,
        gc: Math.min(1, share(gcMs)),
      };
      loop.reset();
      gcMs = 0;
      return resources;
    },
    close() {
      loop.disable();
      collections.disconnect();
    },
  };
}
