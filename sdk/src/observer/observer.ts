import { made } from '../bundle/source.js';
import type { UnknownEvents } from '../event/unknown.js';
import type { ContextOptions } from '../context/context.js';
import type { CommandSender, QueryAsker } from '../gateway/declared.js';
import type { CommandTarget, EventOf, EventSource, EventTypesOf, QueryTarget } from '../messages.js';
import type { EventFirer } from '../routed/events.js';
import type { EventContext } from '../projector/projector.js';

export interface ObserverContext<T extends CommandTarget = never, Q extends QueryTarget = never> extends EventContext {
  /**
   * Sends what `sends` declares. The id of the n-th command is `<event id>/<observer>/<n>`, so that one that is sent again is a duplicate; it carries on
   * the correlation, the trace, the actor and the context of the event, which is its cause.
   */
  readonly commands: CommandSender<T>;
  /** Asks what `asks` declares. */
  readonly queries: QueryAsker<Q>;
  /**
   * Fires routed events that the bundle declares. The id of the n-th is `<event id>/<observer>/fired/<n>`: an event that is given again fires them again,
   * under the same ids.
   */
  readonly events: EventFirer;
  /** Milliseconds since the epoch; not the same when the event is given again. */
  readonly now: number;
  /** Fires when the instance stops or may lose the partition, three seconds after it began to; the event is then given again. */
  readonly signal: AbortSignal;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
}

export interface ObserverOptions<S extends EventSource, T extends CommandTarget, Q extends QueryTarget>
  extends ContextOptions, UnknownEvents {
  readonly description?: string;
  /** Whose events it reacts to. */
  readonly of: S | readonly S[];
  /** Whose commands it sends: all that it may send. @default none */
  readonly sends?: readonly T[];
  /** Whose queries it asks. @default none */
  readonly asks?: readonly Q[];
  /**
   * The events that it cares for; any other is passed over. At least once, in order for each aggregate. What a handler throws for the moment is tried
   * again while other aggregates go on; what it throws for good parks the event and what follows of its aggregate.
   */
  readonly on: NoInfer<{
    readonly [K in EventTypesOf<S>]?: (event: EventOf<S, K>, context: ObserverContext<T, Q>) => void | Promise<void>;
  }>;
  /** Handlers that run at the same time for each partition. Few make a slow aggregate delay others. @default 100 */
  readonly concurrency?: number;
  /** Where it begins when it first runs; `latest`: with what comes from then on. @default 'latest' */
  readonly startAt?: 'latest' | 'earliest';
}

/** An observer with the types of its parts forgotten, as the host runs it. */
export interface Observer<Name extends string = string> extends ContextOptions, Required<UnknownEvents> {
  readonly kind: 'observer';
  readonly name: Name;
  readonly description: string;
  readonly of: readonly EventSource[];
  readonly sends: readonly CommandTarget[];
  readonly asks: readonly QueryTarget[];
  readonly handlers: Readonly<Record<string, ((event: never, context: never) => void | Promise<void>) | undefined>>;
  readonly concurrency: number;
  readonly startAt: 'latest' | 'earliest';
}

/**
 * An observer reacts to events and keeps no state. It may send the commands and ask the queries that it declares; anything else does not compile, and
 * neither does an event that its sources do not have. An order to seek back gives it the events again, and the commands that it sends then are
 * duplicates as long as their outcomes are kept.
 */
export const observer = <const Name extends string, S extends EventSource, T extends CommandTarget = never, Q extends QueryTarget = never>(
  name: Name,
  options: ObserverOptions<S, T, Q>,
): Observer<Name> =>
  made<Observer<Name>>(observer, {
    kind: 'observer',
    name,
    description: options.description ?? '',
    of: [options.of].flat(),
    sends: options.sends ?? [],
    asks: options.asks ?? [],
    handlers: options.on,
    concurrency: options.concurrency ?? 100,
    startAt: options.startAt ?? 'latest',
    unknown: options.unknown ?? 'skip',
    ...(options.contexts === undefined ? {} : { contexts: options.contexts }),
  });
