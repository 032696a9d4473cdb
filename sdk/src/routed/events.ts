import { SpoolError } from '@spool/schemas';
import type { Log } from '@spool/streams';
import { createFanOut } from './fan-out.js';
import { createPatternTrie } from './pattern-trie.js';
import { routingKey, type Routing } from './routing.js';
import { jsonSerializer, type Serializer } from './serializer.js';
import type { CarriedEvent, Destination, Emitter, EventPattern, EventTransport } from './transport.js';

export interface EventDeclaration {
  /** Of an event that leaves the process. @default none: it stays in this process */
  readonly routing?: Routing;
  /** Whether it waits for nodes that are away. @default 'durable' */
  readonly delivery?: CarriedEvent['delivery'];
}

/** An event as a subscriber gets it. */
export interface ReceivedEvent<T = unknown> {
  readonly id: string;
  /** Undefined for one that stays in this process. */
  readonly routing: string | undefined;
  readonly emitter: Emitter;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly correlationId: string | undefined;
  readonly data: T;
}
export type EventHandler<T = unknown> = (event: ReceivedEvent<T>) => void | Promise<void>;

export interface FireOptions {
  /** @default all nodes */
  readonly to?: Destination;
  readonly correlationId?: string;
  readonly causationId?: string;
  /** The same again for what is fired again. @default a new one */
  readonly id?: string;
}
/** What components with effects on the outside are handed: to fire what their bundle declares. */
export type EventFirer = Pick<Events, 'fire'>;

/** Events by name in this process, and by routing between processes: the same calls for both. */
export interface Events extends AsyncDisposable {
  /** @throws SpoolError INVALID_REQUEST for a routing that is wrong, or a name that is declared otherwise already */
  declare(name: string, declaration?: EventDeclaration): void;
  /**
   * What a subscriber throws is told to the log, and neither the emitter nor other subscribers see it.
   * @param to the name of a declared event, or a pattern over those that other processes fire
   * @param subscriber names it, for `unsubscribe`
   * @throws SpoolError INVALID_REQUEST (not declared, or subscribed under this name already), and what the transport throws
   */
  subscribe<T = unknown>(to: string | EventPattern, subscriber: string, handler: EventHandler<T>): Promise<void>;
  /** What is under way is finished. The last one lets the transport go. */
  unsubscribe(to: string | EventPattern, subscriber: string): Promise<void>;
  /**
   * Resolves with its id: one that stays here when the subscribers have it, another when the transport has it.
   * @throws SpoolError INVALID_REQUEST (not declared), SCHEMA_UNKNOWN or INVALID_PAYLOAD (the serializer), and what the transport throws
   */
  fire(name: string, data: unknown, options?: FireOptions): Promise<string>;
  /**
   * Fires whenever a method has been called and has not failed. An event that cannot be fired is told to the log; the caller of the method does not see it.
   * @param say what the event says. @returns leaves the method as it was
   */
  fireOnCall<O extends object, M extends Methods<O>>(
    object: O,
    method: M,
    name: string,
    say: (args: Parameters<Extract<O[M], AnyMethod>>, result: Awaited<ReturnType<Extract<O[M], AnyMethod>>>) => unknown,
  ): () => void;
  /** Lets everything go. */
  close(): Promise<void>;
}
// Parameters are contravariant: only `never` takes the methods of all objects.
type AnyMethod = (...args: never[]) => unknown;
type Methods<O> = { [K in keyof O & string]: O[K] extends AnyMethod ? K : never }[keyof O & string];

export interface EventsOptions {
  readonly emitter: Emitter;
  /** Opens what carries events between processes; called at the first subscriber or event that needs it. @default none: all events stay here */
  readonly transport?: () => Promise<EventTransport>;
  /** How events are written, by their routing: the first that matches. @default JSON */
  readonly serializers?: readonly { readonly for: EventPattern; readonly serializer: Serializer }[];
  readonly log: Log;
  readonly now: () => number;
  /** Of events; unique. */
  readonly newId: () => string;
}

interface Declared {
  readonly routing: string | undefined;
  readonly delivery: CarriedEvent['delivery'];
}
/** Of this process alone: nobody else can have such words. */
const localRouting = (name: string): string => `local.${encodeURIComponent(name).replaceAll('.', '%2E').replaceAll('*', '%2A')}`;

export function createEvents(options: EventsOptions): Events {
  const { emitter, log, now, newId, serializers = [] } = options;
  const declared = new Map<string, Declared>();
  const local = createFanOut({ log });
  const subscribers = new Map<string, { close(): Promise<void> }>();
  /** Those among them that need the transport. */
  const outside = new Set<string>();
  let bound: Promise<EventTransport> | undefined;
  let closed = false;
  const writers = createPatternTrie<number>();
  serializers.forEach((each, index) => writers.add(each.for, index));
  const readers = new Map([jsonSerializer, ...serializers.map(({ serializer }) => serializer)].map((each) => [each.contentType, each]));
  const who = `${emitter.host}.${emitter.kind}.${emitter.id}`;

  const bind = async (): Promise<EventTransport> => {
    const { transport } = options;
    if (transport === undefined)
      throw new SpoolError('INVALID_REQUEST', 'events that leave the process need a transport, and there is none');
    const binding = (bound ??= transport());
    try {
      return await binding;
    } catch (error) {
      if (bound === binding) bound = undefined;
      throw error;
    }
  };
  const letGo = async (): Promise<void> => {
    const last = bound;
    bound = undefined;
    await (await last?.catch(() => undefined))?.close();
  };
  const found = (name: string): Declared => {
    if (closed) throw new SpoolError('UNAVAILABLE', 'the events are closed');
    const event = declared.get(name);
    if (event === undefined) throw new SpoolError('INVALID_REQUEST', `the event ${name} is not declared`);
    return event;
  };
  const writerOf = (routing: string): Serializer => {
    const fitting = [...writers.match(routing, who)];
    return fitting.length === 0 ? jsonSerializer : serializers[Math.min(...fitting)]!.serializer;
  };
  const received = (event: CarriedEvent, data: unknown, routing: string | undefined): ReceivedEvent => ({
    ...{ id: event.id, routing, emitter: event.emitter, at: event.at, correlationId: event.correlationId, data },
  });
  const load = (event: CarriedEvent): unknown => {
    const reader = readers.get(event.contentType);
    if (reader === undefined)
      throw new SpoolError('RECORD_UNREADABLE', `nobody here reads ${event.contentType}, which ${event.routing} comes in`);
    return reader.load(event.value);
  };
  /** What events of this process say, which are not written. */
  const said = new WeakMap<CarriedEvent, unknown>();
  const carried = (
    routing: string,
    delivery: CarriedEvent['delivery'],
    contentType: string,
    value: Uint8Array,
    rest: FireOptions,
  ): CarriedEvent => {
    const { correlationId, causationId, id = newId() } = rest;
    return {
      ...{ id, routing, emitter, at: now(), delivery, contentType, value },
      ...(correlationId === undefined ? {} : { correlationId }),
      ...(causationId === undefined ? {} : { causationId }),
    };
  };

  const events: Events = {
    declare(name, { routing, delivery = 'durable' } = {}) {
      const event = { routing: routing && routingKey(routing), delivery };
      const before = declared.get(name);
      if (before !== undefined && (before.routing !== event.routing || before.delivery !== delivery))
        throw new SpoolError('INVALID_REQUEST', `the event ${name} is declared already, with another routing or delivery`);
      declared.set(name, event);
    },
    async subscribe(to, subscriber, handler) {
      const routing = typeof to === 'string' ? found(to).routing : to.routing;
      const key = keyOf(to, subscriber);
      if (subscribers.has(key)) throw new SpoolError('INVALID_REQUEST', `${subscriber} is subscribed already`);
      const handle = handler as EventHandler;
      if (routing === undefined) {
        subscribers.set(
          key,
          local.subscribe({ routing: localRouting(to as string) }, (event) => handle(received(event, said.get(event), undefined))),
        );
        return;
      }
      // Named at once: a second call must not pass while this one waits.
      subscribers.set(key, { close: () => Promise.resolve() });
      outside.add(key);
      try {
        const pattern = typeof to === 'string' ? { routing } : to;
        const subscription = await (
          await bind()
        ).subscribe(pattern, async (event) => handle(received(event, await load(event), event.routing)));
        subscribers.set(key, subscription);
      } catch (error) {
        subscribers.delete(key);
        outside.delete(key);
        throw error;
      }
    },
    async unsubscribe(to, subscriber) {
      const key = keyOf(to, subscriber);
      const subscription = subscribers.get(key);
      subscribers.delete(key);
      await subscription?.close();
      if (outside.delete(key) && outside.size === 0) await letGo();
    },
    async fire(name, data, rest = {}) {
      const { routing, delivery } = found(name);
      if (routing === undefined) {
        const event = carried(localRouting(name), delivery, '', new Uint8Array(), rest);
        said.set(event, data);
        await local.publish(event);
        return event.id;
      }
      const serializer = writerOf(routing);
      const event = carried(routing, delivery, serializer.contentType, await serializer.dump(name, data), rest);
      await (await bind()).send(event, rest.to ?? { scope: 'global' });
      return event.id;
    },
    fireOnCall(object, method, name, say) {
      found(name);
      const original = object[method] as unknown as (...args: unknown[]) => unknown;
      const fired = (args: unknown[], result: unknown): void => {
        const firing = async (): Promise<string> => events.fire(name, say(args as never, result as never));
        firing().catch((error: unknown) => log('warn', `the event ${name} could not be fired`, { error: String(error) }));
      };
      const calling = function (this: unknown, ...args: unknown[]): unknown {
        const result = original.apply(this, args);
        if (result instanceof Promise) void result.then((value: unknown) => fired(args, value)).catch(() => undefined);
        else fired(args, result);
        return result;
      };
      object[method] = calling as never;
      return () => {
        if ((object[method] as unknown) === calling) object[method] = original as never;
      };
    },
    async close() {
      closed = true;
      const open = [...subscribers.values()];
      subscribers.clear();
      outside.clear();
      await Promise.all(open.map((each) => each.close()));
      await letGo();
    },
    [Symbol.asyncDispose]: () => events.close(),
  };
  return events;
}

const keyOf = (to: string | EventPattern, subscriber: string): string =>
  JSON.stringify([typeof to === 'string' ? to : [to.routing, to.emitter ?? '#'], subscriber]);
