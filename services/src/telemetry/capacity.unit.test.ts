import { capacityOf } from './capacity.js';
import type { Quantiles } from './flow.js';

let seed = 11;
const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
const normal = (): number => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
const sigma = 0.6;
const serviceOf = (p50: number): Quantiles => ({ p50, p95: p50 * Math.exp(1.6449 * sigma), p99: p50 * Math.exp(2.3263 * sigma) });
const draw = (p50: number): number => p50 * Math.exp(sigma * normal());

interface Measured {
  readonly utilisation: number;
  readonly waitingMs: number;
  readonly concurrent: number;
  /** In order of time, in milliseconds. */
  readonly departures: readonly number[];
}

/** Events one after the other: whoever comes takes the server that is free first. */
function simulate(arrivals: readonly { readonly at: number; readonly p50: number }[], servers: number): Measured {
  const free = Array.from({ length: servers }, () => 0);
  const departures: number[] = [];
  let [busy, waited, there] = [0, 0, 0];
  for (const { at, p50 } of arrivals) {
    const next = free.indexOf(Math.min(...free));
    const begins = Math.max(at, free[next]!);
    const took = draw(p50);
    free[next] = begins + took;
    busy += took;
    waited += begins - at;
    there += begins + took - at;
    departures.push(begins + took);
  }
  const span = arrivals.at(-1)!.at;
  departures.sort((a, b) => a - b);
  return { utilisation: busy / span / servers, waitingMs: waited / arrivals.length, concurrent: there / span, departures };
}

const poisson = (perSecond: number, count: number): number[] => {
  let at = 0;
  return Array.from({ length: count }, () => (at += (-Math.log(random()) * 1000) / perSecond));
};
const near = (measured: number, expected: number | null, within: number): void => {
  expect(Math.abs(measured / (expected ?? NaN) - 1)).toBeLessThan(within);
};

describe('the capacity of stations', () => {
  it.each([
    { servers: 1, perSecond: 100, p50: 5 },
    { servers: 1, perSecond: 140, p50: 5 },
    { servers: 4, perSecond: 500, p50: 5 },
    { servers: 4, perSecond: 560, p50: 5 },
    { servers: 16, perSecond: 2400, p50: 5 },
  ])('is what a simulation finds: $servers servers, $perSecond/s', ({ servers, perSecond, p50 }) => {
    const arrivals = poisson(perSecond, 80_000).map((at) => ({ at, p50 }));
    const measured = simulate(arrivals, servers);
    const { stations } = capacityOf([{ station: 'A', perSecond, service: serviceOf(p50) }], { A: servers });
    near(measured.utilisation, stations[0]!.utilisation, 0.02);
    near(measured.waitingMs, stations[0]!.waitingMs, 0.15);
    near(measured.concurrent, stations[0]!.concurrent, 0.05);
  });

  it('holds for two kinds of work on one station, and for a station behind it', () => {
    const light = poisson(150, 60_000).map((at) => ({ at, p50: 2 }));
    const heavy = poisson(50, 20_000).map((at) => ({ at, p50: 20 }));
    const span = Math.min(light.at(-1)!.at, heavy.at(-1)!.at);
    const arrivals = [...light, ...heavy].filter(({ at }) => at < span).sort((a, b) => a.at - b.at);
    const first = simulate(arrivals, 3);
    const second = simulate(
      first.departures.map((at) => ({ at, p50: 3 })),
      1,
    );
    const { stations, concurrent, bottleneck, headroom } = capacityOf(
      [
        { station: 'A', perSecond: 150, service: serviceOf(2) },
        { station: 'A', perSecond: 50, service: serviceOf(20) },
        { station: 'B', perSecond: 200, service: serviceOf(3) },
      ],
      { A: 3, B: 1 },
    );
    const [b, a] = stations;
    expect([a!.station, b!.station, bottleneck]).toEqual(['A', 'B', 'B']);
    near(first.utilisation, a!.utilisation, 0.03);
    near(first.waitingMs, a!.waitingMs, 0.2);
    near(second.utilisation, b!.utilisation, 0.03);
    near(second.waitingMs, b!.waitingMs, 0.25);
    near(first.concurrent + second.concurrent, concurrent, 0.12);
    // With that much more the bottleneck is full: nothing more goes through.
    const more = capacityOf([{ station: 'B', perSecond: 200 * headroom!, service: serviceOf(3) }], { B: 1 });
    expect(more.stations[0]!.utilisation).toBeCloseTo(1, 9);
    expect(more.stations[0]!.highestPerSecond).toBeCloseTo(200 * headroom!, 6);
  });

  it('says of an overloaded station that waiting has no end, and of an idle one that there is none', () => {
    const full = capacityOf([{ station: 'A', perSecond: 300, service: serviceOf(5) }], {});
    expect(full).toMatchObject({ concurrent: null, bottleneck: 'A', stations: [{ waitingMs: null, concurrent: null, servers: 1 }] });
    expect(full.headroom).toBeLessThan(1);
    expect(capacityOf([{ station: 'A', perSecond: 0, service: serviceOf(5) }], {})).toMatchObject({
      ...{ concurrent: 0, bottleneck: null, headroom: null },
      stations: [{ utilisation: 0, waitingMs: 0 }],
    });
    expect(capacityOf([], {})).toEqual({ stations: [], concurrent: 0, bottleneck: null, headroom: null });
  });
});
