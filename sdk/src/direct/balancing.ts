import { createHash } from 'node:crypto';
import type { Call } from './call.js';
import type { Place } from './discovery.js';

/** One of those who may be called. */
export interface Candidate extends Place {
  /** Calls of this process under way there. */
  readonly inFlight: number;
}
/** Chooses among one or more. */
export type Balancer = (candidates: readonly Candidate[], call: Call) => Candidate;

/** Each in turn. */
export const roundRobin = (): Balancer => {
  let turn = 0;
  return (candidates) => candidates[turn++ % candidates.length]!;
};
/** @param random 0 to below 1. @default Math.random */
export const randomly =
  (random: () => number = Math.random): Balancer =>
  (candidates) =>
    candidates[Math.floor(random() * candidates.length)]!;
/** With the fewest calls under way, each in turn among those. */
export const leastLoaded = (): Balancer => {
  const turns = roundRobin();
  return (candidates, call) => {
    const fewest = Math.min(...candidates.map(({ inFlight }) => inFlight));
    return turns(
      candidates.filter(({ inFlight }) => inFlight === fewest),
      call,
    );
  };
};
/**
 * The same for the same key, and as few others as can be when one comes or goes (rendezvous hashing).
 * @param keyOf @default the key of a command, else what is asked
 */
export const consistentHash =
  (keyOf: (call: Call) => string = ({ key, value }) => key ?? Buffer.from(value).toString('base64')): Balancer =>
  (candidates, call) => {
    const key = keyOf(call);
    const weight = ({ instance }: Place): string => createHash('md5').update(`${instance}\0${key}`).digest('hex');
    return candidates.map((each) => [weight(each), each] as const).reduce((most, each) => (each[0] > most[0] ? each : most))[1];
  };
