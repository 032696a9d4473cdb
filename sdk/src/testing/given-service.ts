import type { PayloadOf } from '@spool/schemas';
import { Rejection } from '../aggregate/aggregate.js';
import type { MessageOf, Payloads } from '../payloads.js';
import type { Service, ServiceContext } from '../service/service.js';
import { received, same } from './compare.js';

export interface GivenService<C extends Payloads, E extends Payloads> {
  /** @param context what the handler is to find there, in place of the kit's */
  when<K extends keyof C & string>(type: K, command: PayloadOf<C[K]>, context?: Partial<ServiceContext>): Handled<E>;
}
/** What came of a command. It is handled once, however much of this is asked. */
export interface Handled<E extends Payloads> {
  /** @throws AssertionError */
  thenEvent(event: MessageOf<E>): Promise<void>;
  /** It did what it did, and there is nothing to tell. @throws AssertionError */
  thenNothing(): Promise<void>;
  /** @throws AssertionError */
  thenRejected(code: string): Promise<void>;
}

/**
 * Given a service, made with an outside of the test's, when a command, then an event, nothing or a rejection:
 * `await givenService(payments(fakeBank)).when('Charge', { amount: 5 }).thenEvent(charged)`.
 *
 * Commands and events go through their Avro schemas as they do in Kafka. What the handler throws, the test gets.
 */
export const givenService = <C extends Payloads, E extends Payloads>(service: Service<string, C, E>): GivenService<C, E> => ({
  when(type, command, context = {}) {
    const checked = ({ type: of, data }: { readonly type: string; readonly data: unknown }) => {
      const schema = service.events[of];
      if (schema === undefined) throw new Error(`${of} is not among the events of ${service.name}`);
      return { type: of, data: received(schema, data) };
    };
    const handle = async () => {
      const schema = service.commands[type];
      if (schema === undefined) throw new Error(`${service.name} has no command ${type}`);
      const made = await service.handle(type, received(schema, command), { ...plainContext(), ...context });
      return made === undefined || made instanceof Rejection ? made : checked(made);
    };
    const handled = handle();
    // Whoever asks for the outcome hears of it.
    handled.catch(() => undefined);
    const event = async () => {
      const made = await handled;
      if (made instanceof Rejection) throw new Error(`${type} was rejected: ${made.code}, ${made.detail}`);
      return made;
    };
    return {
      thenEvent: async (expected) => same(`the event of ${type}`, await event(), checked(expected)),
      thenNothing: async () => same(`what came of ${type}`, await event(), undefined),
      async thenRejected(code) {
        const made = await handled;
        if (made instanceof Rejection) same(`the rejection of ${type} (${made.detail})`, made.code, code);
        else same(`${type} was not rejected`, made, code);
      },
    };
  },
});

const plainContext = (): ServiceContext => ({
  commandId: 'command-1',
  idempotencyKey: 'command-1',
  lockId: undefined,
  now: 0,
  deadline: undefined,
  signal: new AbortController().signal,
  correlationId: 'command-1',
  context: 'default',
  events: { fire: () => Promise.resolve('event-1') },
  log: () => undefined,
});
