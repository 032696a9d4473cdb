import type { Instance } from '@spool/streams';
import { declaredCommands, declaredSubscriptions } from '../gateway/declared.js';
import type { CommandGateway, Gateway, QueryGateway, SendOptions } from '../gateway/messages.js';
import { firer } from '../host/bundle-events.js';
import type { Hosting } from '../host/hosting.js';
import type { ClientContext, Declared, InvokerContext } from './declared.js';

export interface Occasion {
  readonly signal: AbortSignal;
  /** Whether something may still be sent when the signal has fired: a last word. @default false */
  readonly lastWord?: boolean;
  /** Begins the ids of the commands, so that they are the same when it comes again. @default they are random */
  readonly id?: string;
  /** What everything that it sends has in common. */
  readonly meta?: Pick<SendOptions, 'correlationId' | 'traceparent' | 'actor'>;
}

/** What an invoker works with on one occasion, in a bundle that runs. */
export const invokerContext = ({ instance, events }: Hosting, invoker: Declared, gateway: Gateway, occasion: Occasion): InvokerContext => ({
  ...clientContext(invoker, gateway, instance, occasion),
  events: firer(events, occasion.id, {
    ...(occasion.id === undefined ? {} : { causationId: occasion.id }),
    ...(occasion.meta?.correlationId === undefined ? {} : { correlationId: occasion.meta.correlationId }),
  }),
});

export function clientContext(
  { name, sends, asks }: Declared,
  gateway: CommandGateway & QueryGateway & Pick<Gateway, 'subscribe'>,
  { now, log }: Pick<Instance, 'now' | 'log'>,
  { signal, id, meta, lastWord = false }: Occasion,
): ClientContext {
  let sent = 0;
  const commandId = (): Pick<SendOptions, 'commandId'> => (id === undefined ? {} : { commandId: `${id}/${sent++}` });
  const going = <T>(options: T): T => {
    if (!lastWord) signal.throwIfAborted();
    return { ...meta, ...options };
  };
  return {
    commands: declaredCommands(gateway, name, sends, (options) => going({ ...commandId(), ...options })),
    queries: declaredSubscriptions(gateway, name, asks, going, signal),
    gateway: {
      sendJson: async (type, to, payload, options) => gateway.sendJson(type, to, payload, going({ ...commandId(), ...options })),
      postJson: async (type, to, payload, options) => gateway.postJson(type, to, payload, going({ ...commandId(), ...options })),
      askJson: async (type, request, options) => gateway.askJson(type, request, going({ ...options })),
    },
    now,
    log: (message, fields) => log('info', message, { invoker: name, ...fields }),
    signal,
  };
}
