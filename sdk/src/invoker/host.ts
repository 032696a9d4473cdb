import type { Gateway } from '../gateway/messages.js';
import { handled, type Hosting } from '../host/hosting.js';
import { invokerContext } from './context.js';
import { hostCron } from './cron-host.js';
import { hostHttp } from './http-host.js';
import type { Invoker, StartInvoker } from './invoker.js';

/**
 * Starts the invokers of a bundle, each by its way.
 * @returns what ends with them: those that run once, and the endpoints when the signal has fired
 */
export async function startInvokers(
  hosting: Hosting,
  invokers: readonly Invoker[],
  gatewayOf: (source: string) => Gateway,
  stop: AbortSignal,
): Promise<{ readonly done: Promise<void> }> {
  const ends: Promise<void>[] = [];
  for (const invoker of invokers) {
    const gateway = gatewayOf(`${hosting.bundle.id}/${invoker.name}`);
    if (invoker.way === 'cron') await hostCron(hosting, invoker, gateway, stop);
    else if (invoker.way === 'http') ends.push((await hostHttp(hosting, invoker, gateway, stop)).ended);
    else if (invoker.way === 'start') ends.push(runOnce(hosting, invoker, gateway, stop));
  }
  const done = Promise.all(ends).then(() => undefined);
  // Whoever asks for it hears of it.
  done.catch(() => undefined);
  return { done };
}

async function runOnce(hosting: Hosting, invoker: StartInvoker, gateway: Gateway, signal: AbortSignal): Promise<void> {
  const { instance } = hosting;
  const { name } = invoker;
  try {
    await handled(hosting, { component: name, kind: 'invoker', messageKind: 'request', type: name, payload: undefined, meta: {} }, () =>
      invoker.run(invokerContext(hosting, invoker, gateway, { signal, lastWord: true }) as never),
    );
  } catch (error) {
    instance.log('error', 'an invoker failed', { invoker: name, error: String(error) });
    throw error;
  }
}
