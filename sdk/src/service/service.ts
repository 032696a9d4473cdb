import type { PayloadOf } from '@spool/schemas';
import type { Rejection } from '../aggregate/aggregate.js';
import type { MessageOf, Payloads } from '../payloads.js';
import type { EventFirer } from '../routed/events.js';
import { made } from '../bundle/source.js';
import type { Streams } from './streaming.js';

/** What a handler gets beside the command. There is nothing in it that sends commands or asks. */
export interface ServiceContext {
  readonly commandId: string;
  /**
   * Hand it to the outside: the same for every try of a command, on whichever instance. A crash between the call and its recorded outcome calls
   * once more, and the outside then knows that it has been there.
   */
  readonly idempotencyKey: string;
  /** Commands under one lock are handled one after the other; undefined: under none. */
  readonly lockId: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** When the caller stops waiting, in milliseconds since the epoch. */
  readonly deadline: number | undefined;
  /**
   * Fires at the deadline, after `timeoutMs`, and when the instance stops or may lose the partition, three seconds after it began to. A handler that
   * ignores it keeps its lock until it ends.
   */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** See `ContextOptions`; a service handles the commands of all. */
  readonly context: string;
  /** Fires routed events that the bundle declares; another try of the command fires them again, under the same ids. */
  readonly events: EventFirer;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
}

/** Acts on the world and says what came of it: one event, nothing, or a refusal. All three are recorded before the caller hears. */
export type Handle<Command, Event> = (
  command: Command,
  context: ServiceContext,
) => Event | Rejection | undefined | Promise<Event | Rejection | undefined>;

export interface ServiceOptions<Commands extends Payloads, Events extends Payloads, S extends Streams = Streams> {
  readonly description?: string;
  readonly commands: Commands;
  /** @default none */
  readonly events?: Events;
  /**
   * One for each command. What it throws for the moment (a SpoolError that may be tried again such as `UNAVAILABLE`, a broken connection) and what it
   * throws after its signal has fired is tried again, with back-off, until the deadline. Anything else is a fault: the caller hears `failed`, nothing is
   * recorded, and the same command may be sent again; where nobody waits the command is parked.
   */
  readonly handle: NoInfer<{ readonly [K in keyof Commands]: Handle<PayloadOf<Commands[K]>, MessageOf<Events>> }>;
  /** Commands that are answered with streams of events, by direct calls alone. @default none */
  readonly streams?: S;
  /** Handlers that run at the same time for each partition. Few make commands wait for each other; many take sockets. @default 16 */
  readonly concurrency?: number;
  /** How long one try may take, in milliseconds; too short, and it is tried again without end. @default the deadline of the command alone */
  readonly timeoutMs?: number;
}

/** A service with the types of its parts forgotten, as the host runs it. */
export interface Service<
  Name extends string = string,
  Commands extends Payloads = Payloads,
  Events extends Payloads = Payloads,
  S extends Streams = Streams,
> {
  readonly kind: 'service';
  readonly name: Name;
  readonly description: string;
  readonly commands: Commands;
  readonly events: Events;
  readonly streams: S;
  readonly concurrency: number;
  readonly timeoutMs: number | undefined;
  handle(type: string, command: unknown, context: ServiceContext): HandledCommand | Promise<HandledCommand>;
}
type HandledCommand = { readonly type: string; readonly data: unknown } | Rejection | undefined;

/**
 * A service handles commands against the outside world. It sends no commands and asks no queries. A wrong payload, a command without a handler or
 * an event that is not declared does not compile.
 */
export function service<
  const Name extends string,
  Commands extends Payloads,
  Events extends Payloads = Readonly<Record<string, never>>,
  S extends Streams = Readonly<Record<string, never>>,
>(name: Name, options: ServiceOptions<Commands, Events, S>): Service<Name, Commands, Events, S> {
  const handlers = options.handle as Readonly<Record<string, Handle<unknown, { readonly type: string; readonly data: unknown }>>>;
  return made<Service<Name, Commands, Events, S>>(service, {
    kind: 'service',
    name,
    description: options.description ?? '',
    commands: options.commands,
    events: options.events ?? ({} as unknown as Events),
    streams: options.streams ?? ({} as unknown as S),
    concurrency: options.concurrency ?? 16,
    timeoutMs: options.timeoutMs,
    handle: (type, command, context) => handlers[type]!(command, context),
  });
}
