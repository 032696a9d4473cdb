import net from 'node:net';
import tls from 'node:tls';
import { SpoolError } from '@spool/schemas';
import Broker from 'kafkajs/src/broker/index.js';
import buildConnections, { type ConnectionPool } from 'kafkajs/src/cluster/connectionPoolBuilder.js';
import loggers, { type LogEntry, type Logger } from 'kafkajs/src/loggers/index.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type Log = (level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>) => void;

export interface KafkaConfig {
  /** `host:port` of one broker at least; the others are learned from it. */
  readonly brokers: readonly string[];
  /** Names this process in the brokers' logs and quotas. */
  readonly clientId: string;
  /** `true` trusts the system's authorities. PEM texts otherwise. @default plain text */
  readonly tls?: true | { readonly ca?: string; readonly cert?: string; readonly key?: string; readonly rejectUnauthorized?: boolean };
  readonly sasl?: { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string };
  /** Milliseconds for a TCP and TLS connection to stand. @default 5000 */
  readonly connectTimeoutMs?: number;
  /** Milliseconds until a request without an answer counts as lost. @default 10000 */
  readonly requestTimeoutMs?: number;
  /** How long a request may be retried before KAFKA_UNAVAILABLE, in milliseconds. @default 30000 */
  readonly retryForMs?: number;
  /** Hears of lost connections and of retries; never of secrets. @default silent */
  readonly log?: Log;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Opens connections to one broker. */
export type Dial = (address: Address, nodeId?: number) => Promise<Broker>;

const WARN = 2;
const REPEAT_AFTER_MS = 10_000;
const MAX_REMEMBERED = 100;

/** @throws SpoolError INVALID_CONFIG for an address that is not `host:port`. */
export function parseAddress(address: string): Address {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  const port = Number(address.slice(colon + 1));
  if (colon < 1 || host === '' || !Number.isInteger(port) || port < 1 || port > 65535)
    throw new SpoolError('INVALID_CONFIG', `brokers: "${address}" is not host:port`);
  return { host, port };
}

export function createDial(config: KafkaConfig): Dial {
  const logger: Logger = loggers.createLogger({ level: config.log ? WARN : 0, logCreator: () => forwardTo(config.log) });
  const connections = buildConnections({
    // without TCP_NODELAY a request that follows another at once waits for the acknowledgement of the first, up to 40 ms
    socketFactory: ({ host, port, ssl, onConnect }) => {
      const socket = ssl
        ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...ssl }, onConnect)
        : net.connect({ host, port }, onConnect);
      return socket.setNoDelay(true).setKeepAlive(true, 30_000);
    },
    brokers: config.brokers,
    ssl: config.tls === true ? {} : config.tls,
    sasl: config.sasl,
    clientId: config.clientId,
    connectionTimeout: config.connectTimeoutMs ?? 5_000,
    requestTimeout: config.requestTimeoutMs ?? 10_000,
    enforceRequestTimeout: true,
    logger,
  });
  return async ({ host, port }, nodeId) =>
    new Broker({
      connectionPool: await connections.build({ host, port }),
      logger,
      allowAutoTopicCreation: false,
      ...(nodeId === undefined ? {} : { nodeId }),
    });
}

/**
 * What kafkajs calls an error is a lost connection, which this adapter mends, or an answer that refuses, which it throws or retries. A broker
 * that is away is tried twice a second; that is told once in a while.
 */
function forwardTo(log: Log | undefined): (entry: LogEntry) => void {
  const toldAt = new Map<string, number>();
  return ({ log: { message, broker } }) => {
    const now = performance.now();
    if (message.startsWith('Response ') || now - (toldAt.get(message) ?? Number.NEGATIVE_INFINITY) < REPEAT_AFTER_MS) return;
    if (toldAt.size > MAX_REMEMBERED) toldAt.clear();
    toldAt.set(message, now);
    log?.('warn', message, { broker });
  };
}

/** Ends the connections at once; whatever waits on them is rejected. kafkajs' own disconnect waits for the answers. */
export function hangUp(broker: Broker): void {
  const gone = new ConnectionGone(broker.connectionPool);
  for (const connection of broker.connectionPool.pool) {
    const connecting = !connection.isConnected();
    connection.requestQueue.rejectAll(gone);
    connection.disconnect().catch(() => undefined);
    // kafkajs waits for a connection that is on its way until it fails or times out
    connection.socket?.destroy(connecting ? gone : undefined);
  }
}

class ConnectionGone extends Error {
  override readonly name = 'KafkaJSConnectionClosedError';
  constructor(pool: ConnectionPool) {
    super(`connection to ${pool.host}:${pool.port} was closed`);
  }
}
