import type { PayloadOf } from '@spool/schemas';
import { made } from '../bundle/source.js';
import type { MessageOf, Payloads } from '../payloads.js';

/** A refusal by the domain: nothing is written, and the caller gets 422 with the code and the detail. */
export class Rejection {
  constructor(
    readonly code: string,
    readonly detail: string,
  ) {}
}
/** @param code stable, for programs, such as `ALREADY_DEPARTED`. @param detail for people: what was wrong. */
export const reject = (code: string, detail: string): Rejection => new Rejection(code, detail);

/** What `decide` gets beside the command and the state. It is all that may differ from call to call. */
export interface DecideContext {
  readonly aggregateId: string;
  /** The number of events so far; 0 for an aggregate that does not exist yet. */
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** A fresh id; the same command gives the same ids in the same order. */
  newId(): string;
}
/** What `evolve` gets beside the state and the event: the same on replay as on write. */
export interface EvolveContext {
  readonly aggregateId: string;
  /** Version of the aggregate with this event. */
  readonly version: number;
  /** When the event was decided, in milliseconds since the epoch. */
  readonly at: number;
}

export type Decide<Command, State, Event> = (command: Command, state: State, context: DecideContext) => readonly Event[] | Rejection;
/** `new`: refuses an aggregate that exists. `existing`: refuses one that does not. */
export interface GuardedDecide<Command, State, Event> {
  readonly requires: 'new' | 'existing';
  readonly decide: Decide<Command, State, Event>;
}

export interface AggregateOptions<State, Commands extends Payloads, Events extends Payloads> {
  readonly description?: string;
  readonly commands: Commands;
  readonly events: Events;
  /** The state before the first event. Plain data. */
  readonly initial: () => State;
  /** One for each command. Pure: no I/O, no clock, no random numbers. */
  readonly decide: NoInfer<{
    readonly [K in keyof Commands]:
      Decide<PayloadOf<Commands[K]>, State, MessageOf<Events>> | GuardedDecide<PayloadOf<Commands[K]>, State, MessageOf<Events>>;
  }>;
  /** One for each event. Pure, and total: an event is a fact. */
  readonly evolve: NoInfer<{ readonly [K in keyof Events]: (state: State, event: PayloadOf<Events[K]>, context: EvolveContext) => State }>;
  /** Events that end the aggregate: it takes no command after one of them, and its id is not used again. @default none */
  readonly deletes?: NoInfer<readonly (keyof Events & string)[]>;
  /** A snapshot after so many events of one aggregate. @default 100 */
  readonly snapshotEvery?: number;
  /** Snapshots of another version of `evolve` are not used. @default '1' */
  readonly codeVersion?: string;
}

/** An aggregate with the types of its parts forgotten, as the host runs it. */
export interface Aggregate<Name extends string = string, Commands extends Payloads = Payloads, Events extends Payloads = Payloads> {
  readonly kind: 'aggregate';
  readonly name: Name;
  readonly description: string;
  readonly commands: Commands;
  readonly events: Events;
  readonly deletes: ReadonlySet<string>;
  readonly snapshotEvery: number;
  readonly codeVersion: string;
  initial(): unknown;
  decide(type: string, command: unknown, state: unknown, context: DecideContext): readonly { type: string; data: unknown }[] | Rejection;
  evolve(type: string, state: unknown, event: unknown, context: EvolveContext): unknown;
}

/**
 * An aggregate decides commands, one at a time per id, into events and folds events into its state. It sends nothing.
 * A wrong payload, a command without `decide` or an event without `evolve` does not compile.
 */
export function aggregate<const Name extends string, State, Commands extends Payloads, Events extends Payloads>(
  name: Name,
  options: AggregateOptions<State, Commands, Events>,
): Aggregate<Name, Commands, Events> {
  const decides = options.decide as Readonly<Record<string, Decide<unknown, unknown, never> | GuardedDecide<unknown, unknown, never>>>;
  const evolves = options.evolve as Readonly<Record<string, (state: unknown, event: unknown, context: EvolveContext) => unknown>>;
  return made<Aggregate<Name, Commands, Events>>(aggregate, {
    kind: 'aggregate',
    name,
    description: options.description ?? '',
    commands: options.commands,
    events: options.events,
    deletes: new Set(options.deletes),
    snapshotEvery: options.snapshotEvery ?? 100,
    codeVersion: options.codeVersion ?? '1',
    initial: options.initial,
    decide(type, command, state, context) {
      const entry = decides[type];
      if (entry === undefined) return reject('UNKNOWN_COMMAND', `${name} does not handle ${type}`);
      if (typeof entry === 'function') return entry(command, state, context);
      if (entry.requires === 'new' && context.version > 0) return reject('ALREADY_EXISTS', `${name} ${context.aggregateId} exists already`);
      if (entry.requires === 'existing' && context.version === 0)
        return reject('DOES_NOT_EXIST', `there is no ${name} ${context.aggregateId}`);
      return entry.decide(command, state, context);
    },
    // An event that this version of the code does not know leaves the state as it is: an older instance meets newer events in a rolling deployment.
    evolve: (type, state, event, context) => evolves[type]?.(state, event, context) ?? state,
  });
}
