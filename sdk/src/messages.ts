import type { PayloadOf } from '@spool/schemas';
import type { Payloads, Queries } from './payloads.js';
import type { Streams } from './service/streaming.js';

/** Whoever takes commands. */
export interface CommandTarget<Name extends string = string, Commands extends Payloads = Payloads> {
  readonly kind: 'aggregate' | 'service';
  readonly name: Name;
  readonly commands: Commands;
  /** Commands that it answers with streams of events. */
  readonly streams?: Streams;
}
/** Whoever gives events. */
export interface EventSource<Name extends string = string, Events extends Payloads = Payloads> {
  readonly kind: 'aggregate' | 'service';
  readonly name: Name;
  readonly events: Events;
}
/** Whoever answers queries. */
export interface QueryTarget<Name extends string = string, Q extends Queries = Queries> {
  readonly name: Name;
  readonly queries: Q;
}

/** Some of the commands of a target: what a component declares that it sends, and all that it may send. */
export function only<Name extends string, C extends Payloads, const K extends keyof C & string>(
  { kind, name, commands }: CommandTarget<Name, C>,
  ...types: readonly K[]
): CommandTarget<Name, Pick<C, K>> {
  return { kind, name, commands: Object.fromEntries(types.map((type) => [type, commands[type]])) as unknown as Pick<C, K> };
}

/** The target of that name among those that may be sent to. */
export type TargetNamed<Targets extends { readonly name: string }, Name extends string> = Extract<Targets, { readonly name: Name }>;
/** The events of several sources, by type. */
export type EventsOf<Sources extends EventSource> = UnionToIntersection<Sources extends unknown ? Sources['events'] : never> & Payloads;
/** The types of the events of several sources. */
export type EventTypesOf<Sources extends EventSource> = Sources extends unknown ? keyof Sources['events'] & string : never;
/** The payload of one of them. */
export type EventOf<Sources extends EventSource, K extends string> = Sources extends unknown
  ? K extends keyof Sources['events']
    ? PayloadOf<Sources['events'][K]>
    : never
  : never;
type UnionToIntersection<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer I) => void ? I : never;
