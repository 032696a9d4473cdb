import type { Quantiles } from './flow.js';

/** Messages of one kind that come to a station. */
export interface Demand {
  readonly station: string;
  readonly perSecond: number;
  /** Time that a server is busy with one, in milliseconds. */
  readonly service: Quantiles;
}

export interface StationLoad {
  readonly station: string;
  readonly servers: number;
  readonly perSecond: number;
  /** Busy time of a server, 0 to 1; above 1 the work grows without end. */
  readonly utilisation: number;
  /** Mean, in milliseconds. */
  readonly serviceMs: number;
  /** Mean time before a server is free, in milliseconds; null where it grows without end. */
  readonly waitingMs: number | null;
  /** Messages there at a time, waiting or served, on average; null where they grow without end. */
  readonly concurrent: number | null;
  /** The most that the station can take, in messages a second of this mix. */
  readonly highestPerSecond: number;
}

export interface Capacity {
  /** The busiest first. */
  readonly stations: readonly StationLoad[];
  /** Of all stations together; null where one is overloaded. */
  readonly concurrent: number | null;
  /** The station that fills first; null without any load. */
  readonly bottleneck: string | null;
  /** What all arrivals can be multiplied by before the bottleneck is full; null without any load. */
  readonly headroom: number | null;
}

/**
 * What comes of arrival rates: each station a queue with some servers, its service times log-normal through the quantiles (Erlang C, corrected for
 * the spread of the service times as Allen and Cunneen do). Arrivals are taken as random; bursts wait longer than it says.
 * @param servers of a station that is not named: 1
 */
export function capacityOf(demands: readonly Demand[], servers: Readonly<Record<string, number>>): Capacity {
  const names = [...new Set(demands.map(({ station }) => station))];
  const stations = names
    .map((station) =>
      loadOf(
        station,
        demands.filter((demand) => demand.station === station),
        servers[station] ?? 1,
      ),
    )
    .sort((a, b) => b.utilisation - a.utilisation);
  const busiest = stations.find(({ utilisation }) => utilisation > 0);
  const overloaded = stations.some(({ concurrent }) => concurrent === null);
  return {
    stations,
    concurrent: overloaded ? null : stations.reduce((sum, { concurrent }) => sum + (concurrent ?? 0), 0),
    bottleneck: busiest?.station ?? null,
    headroom: busiest === undefined ? null : 1 / busiest.utilisation,
  };
}

function loadOf(station: string, demands: readonly Demand[], servers: number): StationLoad {
  const perSecond = demands.reduce((sum, demand) => sum + demand.perSecond, 0);
  // 1. The mix of service times: mean and second moment.
  const moments = demands.map(({ service, perSecond: rate }) => ({ ...momentsOf(service), rate }));
  const mixed = (of: (moment: (typeof moments)[number]) => number): number =>
    perSecond === 0 ? 0 : moments.reduce((sum, moment) => sum + of(moment) * moment.rate, 0) / perSecond;
  const serviceMs = mixed(({ mean }) => mean);
  const spread = serviceMs === 0 ? 0 : mixed(({ square }) => square) / serviceMs ** 2 - 1;
  // 2. The queue.
  const offered = (perSecond * serviceMs) / 1000;
  const utilisation = offered / servers;
  const isFull = utilisation >= 1;
  const waitingMs = offered === 0 ? 0 : (erlangC(servers, offered) * serviceMs * (1 + spread)) / (2 * servers * (1 - utilisation));
  return {
    ...{ station, servers, perSecond, utilisation, serviceMs },
    waitingMs: isFull ? null : waitingMs,
    concurrent: isFull ? null : (perSecond * (waitingMs + serviceMs)) / 1000,
    highestPerSecond: serviceMs === 0 ? 0 : (servers * 1000) / serviceMs,
  };
}

/** How many standard deviations the 95th and the 99th percentile lie above the median. */
const z95 = 1.6449;
const z99 = 2.3263;

/** Of the log-normal distribution with this median whose tail comes nearest to the two other quantiles. */
function momentsOf({ p50, p95, p99 }: Quantiles): { readonly mean: number; readonly square: number } {
  if (p50 <= 0) return { mean: p50, square: 0 };
  const sigma = (z95 * Math.log(Math.max(p95, p50) / p50) + z99 * Math.log(Math.max(p99, p50) / p50)) / (z95 ** 2 + z99 ** 2);
  return { mean: p50 * Math.exp(sigma ** 2 / 2), square: p50 ** 2 * Math.exp(2 * sigma ** 2) };
}

/** The probability that an arrival has to wait. */
function erlangC(servers: number, offered: number): number {
  let blocked = 1;
  for (let busy = 1; busy <= servers; busy++) blocked = (offered * blocked) / (busy + offered * blocked);
  return blocked / (1 - (offered / servers) * (1 - blocked));
}
