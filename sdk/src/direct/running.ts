import type { RunningBundle } from '../host/start-bundle.js';
import { createAnswering, type AnsweringOptions } from './answering.js';
import { withBreaker, type BreakerOptions } from './breaker.js';
import { createDirect, type Direct } from './direct.js';
import { discovery, type Discovery, type DiscoveryOptions } from './discovery.js';
import { createSessions, type SessionsOptions } from './sessions.js';
import { createExecutor, type Executor, type ExecutorOptions } from './executor.js';
import { path } from './frames.js';
import { localTransport } from './local.js';
import { socketTransport, type SocketOptions } from './socket.js';
import { takeStream } from './stream.js';
import { createSocketServer, type SocketServerOptions } from './socket-server.js';

/**
 * Takes calls of other instances: queries of the bundle's projections, streaming commands of its services, and other commands, which go into the log by
 * its own gateway.
 * @returns ends with the bundle, or sooner
 * @throws SpoolError INVALID_CONFIG (no key of the cluster), PORT_IN_USE
 */
export async function serveDirect(
  running: RunningBundle,
  options: AnsweringOptions & SessionsOptions & SocketServerOptions = {},
): Promise<{ close(): Promise<void> }> {
  const sessions = createSessions(running, options);
  const server = createSocketServer(createAnswering(running, options), sessions, running.instance.log, options);
  await running.endpoint.upgrade(path, (upgrade) => server.take(upgrade));
  return {
    async close() {
      await server.close();
      await sessions.close();
    },
  };
}

export interface ConnectOptions
  extends
    Pick<ExecutorOptions, 'balancer' | 'attempts' | 'ejectMs'>,
    Omit<SocketOptions, 'url' | 'token'>,
    Pick<DiscoveryOptions, 'cacheMs'> {
  /** @default by the tables of the registry and of the instances */
  readonly discovery?: Discovery;
  /** Calls that keep failing are not tried for a while. @default they are tried */
  readonly breaker?: BreakerOptions;
}

/** Calls others without Kafka between the two; what the components of the bundle declare, and nothing else. It ends before the bundle. */
export function connectDirect(running: RunningBundle, options: ConnectOptions = {}): Direct {
  const { registry, instances, endpoint, instance } = running;
  const { now, codec, topics } = instance;
  const own = options.discovery === undefined ? discovery(registry, instances, { ...options, now }) : undefined;
  const open: ExecutorOptions['open'] = ({ instance: name, url }) =>
    socketTransport({ ...options, url, token: async () => (await endpoint.tokens()).issue(name) });
  const plain = createExecutor({ ...options, discovery: own ?? options.discovery!, open, now });
  const executor = options.breaker === undefined ? plain : withBreaker(plain, options.breaker);
  const close = (): Promise<void> => {
    own?.close();
    return executor.close();
  };
  return createDirect({ codec, topics, registry, transport: { call: executor.call, stream: executor.stream, close } });
}

/** Calls the components of this process as `connectDirect` calls those of others, without a socket. */
export function localDirect(running: RunningBundle, options: Parameters<typeof localTransport>[1] = {}): Direct {
  const { codec, topics } = running.instance;
  const { call, link, close } = localTransport(running, options);
  const stream: Executor['stream'] = (wanted, streamOptions) => takeStream(link, wanted, streamOptions);
  return createDirect({ codec, topics, registry: running.registry, transport: { call, stream, close } });
}
