import type { PayloadOf } from '@spool/schemas';
import type { UnknownEvents } from '../event/unknown.js';
import type { ContextOptions } from '../context/context.js';
import type { ExpectedVersion, Priority } from '../gateway/messages.js';
import type { CommandTarget, EventOf, EventSource, EventTypesOf, TargetNamed } from '../messages.js';
import type { EventContext } from '../projector/projector.js';
import { made } from '../bundle/source.js';

/** A command as plain data: one of those that the saga may send. */
export type SagaCommandOf<Targets extends CommandTarget> = Targets extends unknown
  ? {
      [K in keyof Targets['commands'] & string]: {
        readonly target: { readonly name: Targets['name'] };
        readonly type: K;
        readonly id: string | null;
        readonly payload: PayloadOf<Targets['commands'][K]>;
      };
    }[keyof Targets['commands'] & string]
  : never;

export interface SagaSendOptions<Undo> {
  /** The version that the aggregate must have. @default 'any' */
  readonly expectedVersion?: ExpectedVersion;
  /** Of a command to a service. @default 'normal' */
  readonly priority?: Priority;
  /** What `compensate` sends for it, if it has been applied, or as soon as it is. @default it is not undone */
  readonly undo?: Undo;
}

/** What a reaction works with. All that it does is one step: it happens once and as a whole, or not at all. */
export interface SagaContext<Targets extends CommandTarget = CommandTarget, Timers extends string = string> {
  /** Of the instance. */
  readonly id: string;
  /** The number of this step, from 1. */
  readonly version: number;
  /** When the event or the outcome was made, or the timer fired, in milliseconds since the epoch. */
  readonly at: number;
  /** Sends a command under an id that a retry gives again, with no deadline. @param id of the aggregate; of a service, the lock or null for none */
  send<Name extends Targets['name'], K extends keyof TargetNamed<Targets, Name>['commands'] & string>(
    target: { readonly name: Name },
    type: K,
    id: string | null,
    payload: PayloadOf<TargetNamed<Targets, Name>['commands'][K]>,
    options?: SagaSendOptions<SagaCommandOf<Targets>>,
  ): void;
  /** Sets a timer of this instance, in place of one of the same name. `afterMs` counts from `at`. A time that has passed is due at once. */
  schedule(timer: Timers, due: { readonly at: number } | { readonly afterMs: number }): void;
  cancel(timer: Timers): void;
  /** Sends the `undo` of every command that was applied, the last one first. One that is still on its way is undone when it has been applied. */
  compensate(): void;
  /** The last step: what comes later is passed over, and open timers are cancelled. */
  end(): void;
  /** A fresh id; a retry of the step gives the same ids in the same order. */
  newId(): string;
}

/** What became of a command that an instance sent. */
export interface SagaOutcome {
  readonly commandId: string;
  /** As it was sent to. */
  readonly key: string;
  readonly status: 'applied' | 'rejected' | 'conflict' | 'failed';
  /** Of a rejection: the domain's; of a failure: of the error catalogue; empty when applied. */
  readonly code: string;
  readonly detail: string;
  /** Of the aggregate, where it is known. */
  readonly version: number | null;
  /** The command was sent by `compensate`. */
  readonly compensation: boolean;
}

/** Undefined leaves the state as it is. */
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a reaction that changes nothing returns nothing
type Next<State> = State | void;

export interface SagaReaction<State, Event, Context> {
  /** Such an event makes an instance where there is none; without it the event is passed over then. @default false */
  readonly starts?: boolean;
  /** The ids of the instances that it concerns; none: the saga passes it over. */
  readonly by: (event: Event, context: EventContext) => string | readonly string[] | undefined;
  /** Pure: no I/O, no clock, no random numbers. @returns the new state, or nothing */
  readonly react: (state: State, event: Event, saga: Context, context: EventContext) => Next<State>;
}

type CommandTypes<Target extends CommandTarget> = Target extends unknown ? keyof Target['commands'] & string : never;

export interface SagaOptions<State, Sources extends readonly EventSource[], Targets extends readonly CommandTarget[], Timers extends string>
  extends ContextOptions, UnknownEvents {
  readonly description?: string;
  /** Aggregates and services whose events it reacts to. */
  readonly of: Sources;
  /** All that it may send. @default nothing */
  readonly sends?: Targets;
  /** Where a new saga begins: at what comes after its first start, or with all events that there are. @default 'latest' */
  readonly startAt?: 'earliest' | 'latest';
  /** The state before the first event. Plain data. */
  readonly initial: () => State;
  /** The events that it reacts to. */
  readonly on: {
    readonly [K in EventTypesOf<Sources[number]>]?: SagaReaction<
      NoInfer<State>,
      EventOf<Sources[number], K>,
      SagaContext<Targets[number], NoInfer<Timers>>
    >;
  };
  /** By type of command: told what became of those that this instance sent. @default nobody is told */
  readonly onOutcome?: {
    readonly [K in CommandTypes<Targets[number]>]?: (
      state: NoInfer<State>,
      outcome: SagaOutcome,
      saga: SagaContext<Targets[number], NoInfer<Timers>>,
    ) => Next<NoInfer<State>>;
  };
  /** By name: what is done when it is due. It fires once, also after a restart or a loss of the disk. @default none */
  readonly timers?: {
    readonly [K in Timers]: (state: NoInfer<State>, saga: SagaContext<Targets[number], NoInfer<Timers>>) => Next<NoInfer<State>>;
  };
}

type Handler = (...given: never[]) => unknown;
/** A saga with the types of its parts forgotten, as the host runs it. */
export interface Saga<Name extends string = string> extends ContextOptions, Required<UnknownEvents> {
  readonly kind: 'saga';
  readonly name: Name;
  readonly description: string;
  readonly of: readonly EventSource[];
  readonly sends: readonly CommandTarget[];
  readonly startAt: 'earliest' | 'latest';
  readonly initial: () => unknown;
  readonly on: Readonly<Record<string, { readonly starts?: boolean; readonly by: Handler; readonly react: Handler } | undefined>>;
  readonly onOutcome: Readonly<Record<string, Handler | undefined>>;
  readonly timers: Readonly<Record<string, Handler | undefined>>;
}

/**
 * A saga is a process over several aggregates and services: it keeps a state per instance, reacts to events, sends commands, hears what became of
 * them, and sets timers. Each step commits as a whole. An id stands for one instance over all contexts. What it may not send does not compile.
 */
export function saga<
  const Name extends string,
  State,
  const Sources extends readonly EventSource[],
  const Targets extends readonly CommandTarget[] = readonly [],
  Timers extends string = never,
>(name: Name, options: SagaOptions<State, Sources, Targets, Timers>): Saga<Name> {
  const {
    description = '',
    sends = [],
    startAt = 'latest',
    onOutcome = {},
    timers = {},
    of,
    initial,
    on,
    contexts,
    unknown = 'skip',
  } = options;
  const handlers = { on, onOutcome, timers } as unknown as Pick<Saga, 'on' | 'onOutcome' | 'timers'>;
  const parts = { name, description, of, sends, startAt, unknown, initial, ...handlers, ...(contexts === undefined ? {} : { contexts }) };
  return made<Saga<Name>>(saga, { kind: 'saga', ...parts });
}
