import type { BundleSignal } from '@spool/schemas';

/** What the instances of a bundle signal, together. */
export function loadOf(signals: readonly BundleSignal[], at: number) {
  const ready = signals.filter(({ ready: isReady }) => isReady);
  const sum = (of: (signal: BundleSignal) => number): number => signals.reduce((all, signal) => all + of(signal), 0);
  const most = (of: (signal: BundleSignal) => number): number => Math.max(0, ...signals.map(of));
  // One that suffers has no time left, whatever its event loop says: it may wait for something of which it has only one.
  const used = ready.map(({ feeling, utilisation }) => (feeling === 'suffering' ? 1 : utilisation));
  const frozen = ['replay', 'rebalance'] as const;
  return {
    at,
    instances: ready.length,
    starting: signals.length - ready.length,
    partitions: sum(({ partitions }) => partitions),
    arrivals: sum(({ arrivals }) => arrivals),
    departures: sum(({ departures }) => departures),
    utilisation: used.length === 0 ? 0 : used.reduce((all, each) => all + each, 0) / used.length,
    busiest: Math.max(0, ...used),
    lag: sum(({ lag }) => lag),
    lagSeconds: most(({ lagSeconds }) => lagSeconds),
    p99Ms: most(({ p99Ms }) => p99Ms),
    eventLoopDelayMs: most(({ eventLoopDelayMs }) => eventLoopDelayMs),
    suffering: ready.filter(({ feeling }) => feeling === 'suffering').length,
    bored: ready.filter(({ feeling }) => feeling === 'bored').length,
    frozen: frozen.find((reason) => signals.some((signal) => signal.frozen === reason)) ?? null,
  };
}
