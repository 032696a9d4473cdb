import { SpoolError, type Codec } from '@spool/schemas';
import type { Kafka, Log } from '@spool/streams';
import type { Bundle } from '../bundle/bundle.js';
import { connectClient } from '../client/client.js';
import { intercept } from '../interceptor/interceptor.js';
import { parseArguments } from './command-line.js';
import { clientContext } from './context.js';

export interface CommandLineConfig {
  readonly kafka: Kafka;
  readonly codec: Codec;
  /** Prefix of all topics, with its dot. @default '' */
  readonly namespace?: string;
  /** @default nothing is logged */
  readonly log?: Log;
  /** @default Date.now */
  readonly now?: () => number;
  /** Ends the run. */
  readonly signal: AbortSignal;
}

/**
 * Runs one `commandLine` invoker of a bundle in this process, as a client: no other component of the bundle is hosted here.
 * @param given its arguments, as they stand on the command line
 * @throws SpoolError NOT_FOUND (no such invoker), INVALID_REQUEST (its arguments), and what `connectClient` and the run throw
 */
export async function runCommandLine(bundle: Bundle, name: string, given: readonly string[], config: CommandLineConfig): Promise<void> {
  const invokers = bundle.components.filter((each) => each.kind === 'invoker').filter((each) => each.way === 'command-line');
  const invoker = invokers.find((each) => each.name === name);
  if (invoker === undefined) {
    const known = invokers.length === 0 ? 'none' : invokers.map((each) => each.name).join(', ');
    throw new SpoolError('NOT_FOUND', `${bundle.id} has no commandLine invoker ${name}; it has ${known}`);
  }
  const payload = parseArguments(invoker, given);
  const { signal, log = () => undefined, now = Date.now, ...platform } = config;
  await using client = await connectClient({ ...platform, clientId: `${bundle.id}/${name}`, log, now });
  const message = { bundle: bundle.id, component: name, kind: 'invoker', messageKind: 'request', type: name, payload, meta: {} } as const;
  await intercept(
    bundle.interceptors,
    () => message,
    'invoker',
    () =>
      invoker.run(
        payload as never,
        clientContext(invoker, { ...client, subscribe: client.subscribeQuery }, { now, log }, { signal, lastWord: true }) as never,
      ),
  );
}
