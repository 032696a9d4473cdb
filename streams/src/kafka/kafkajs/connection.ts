import net from 'node:net';
import tls from 'node:tls';
import { SpoolError } from '@spool/schemas';
import Broker from 'kafkajs/src/broker/index.js';
import buildConnections, { type ConnectionPool } from 'kafkajs/src/cluster/connectionPoolBuilder.js';
import loggers, { type Logger } from 'kafkajs/src/loggers/index.js';

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
  const log = config.log;
  const logger: Logger = loggers.createLogger({
    level: log ? WARN : 0,
    // what kafkajs calls an error is a lost connection, which this adapter mends, or an answer that refuses, which it throws or retries
    logCreator: () => (entry) => {
      if (!entry.log.message.startsWith('Response ')) log?.('warn', entry.log.message, { broker: entry.log['broker'] });
    },
  });
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

/** Ends the connections at once; whatever waits on them is rejected. kafkajs' own disconnect waits for the answers. */
export function hangUp(broker: Broker): void {
  for (const connection of broker.connectionPool.pool) {
    connection.requestQueue.rejectAll(new ConnectionGone(broker.connectionPool));
    connection.disconnect().catch(() => undefined);
    connection.socket?.destroy();
  }
}

class ConnectionGone extends Error {
  override readonly name = 'KafkaJSConnectionClosedError';
  constructor(pool: ConnectionPool) {
    super(`connection to ${pool.host}:${pool.port} was closed`);
  }
}
