import { createServer, type Server } from 'node:http';
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import type { RequestHandler } from 'express';
import { SpoolError } from '@spool/schemas';
import type { Kafka, Log } from '@spool/streams';
import { createApp } from './http/app.js';
import { encodeChange } from './store/records.js';
import { Tail } from './store/tail.js';
import { Writer } from './store/writer.js';

export interface SchemaRegistryOptions {
  /** Stays open when the registry closes. */
  readonly kafka: Kafka;
  /** @default '127.0.0.1'. Another host than loopback needs `middleware`, since everybody could write otherwise. */
  readonly host?: string;
  /** 0 takes a free one. @default 8081 */
  readonly port?: number;
  /** @default '_schemas' */
  readonly topic?: string;
  /** The same in every replica: it is their write lock. @default 'spool-schema-registry.' and the topic */
  readonly transactionalId?: string;
  /** Express handlers that run before every route except `/livez` and `/readyz`, such as authentication. @default none */
  readonly middleware?: readonly RequestHandler[];
  /** What `/v1/metadata/id` calls the Kafka cluster. @default '' */
  readonly kafkaClusterId?: string;
  /** A longer request body is refused with 413. In bytes. @default 1 MiB */
  readonly maxBodyBytes?: number;
  /** A write that is not confirmed by then is answered with 50002. In milliseconds. @default 15000 */
  readonly writeTimeoutMs?: number;
  /** Writes that wait beyond this are refused with 503. @default 1000 */
  readonly maxWaitingWrites?: number;
  /** How long the first reading of the topic may take, in milliseconds. @default 60000 */
  readonly startTimeoutMs?: number;
  /** Where warnings go. @default nowhere */
  readonly log?: Log;
  readonly random?: () => number;
  readonly newId?: () => string;
}

export interface RunningSchemaRegistry extends AsyncDisposable {
  /** Such as `http://127.0.0.1:8081`, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /** Why it cannot serve at the moment, or undefined when it is ready. */
  problem(): string | undefined;
  /** Finishes the requests under way, within 5 s. */
  close(): Promise<void>;
}

const closeTimeoutMs = 5_000;

/**
 * Resolves when the topic has been read to its end and the port is open.
 * @throws SpoolError PORT_IN_USE, INVALID_CONFIG, KAFKA_UNAVAILABLE, UNSAFE_TOPIC, PARTITIONS_CHANGED
 */
export async function startSchemaRegistry(options: SchemaRegistryOptions): Promise<RunningSchemaRegistry> {
  const { kafka, host = '127.0.0.1', topic = '_schemas', middleware = [], log = () => undefined } = options;
  if (!isLoopback(host) && middleware.length === 0) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `the schema registry may not listen on ${host} without authentication: pass middleware or use 127.0.0.1`,
    );
  }
  await kafka.admin.ensureTopics([{ name: topic, partitions: 1, cleanup: 'compact', retentionMs: -1 }]);

  const reader = await kafka.reader({ maxWaitMs: 500, onOutOfRange: () => tail.displaced() });
  const tail: Tail = new Tail(reader, {
    topic,
    log,
    retryMs: 500,
    onRecord: (record) => writer.observe(record),
    onRestart: () => writer.restart(),
  });
  const writer: Writer = new Writer(tail, {
    kafka,
    topic,
    transactionalId: options.transactionalId ?? `spool-schema-registry.${topic}`,
    writeTimeoutMs: options.writeTimeoutMs ?? 15_000,
    maxWaiting: options.maxWaitingWrites ?? 1_000,
    newId: options.newId ?? randomUUID,
    random: options.random ?? Math.random,
    log,
  });
  const clusters = { 'kafka-cluster': options.kafkaClusterId ?? '', 'schema-registry-cluster': 'schema-registry' };
  const app = createApp({
    registry: { state: () => tail.state, write: (decide) => writer.write(decide), clusters },
    middleware,
    problem: () => tail.problem,
    maxBodyBytes: options.maxBodyBytes ?? 1024 * 1024,
    log,
  });
  const server = createServer({ requestTimeout: 60_000, headersTimeout: 15_000 }, app);
  let closing: Promise<void> | undefined;
  const close = () =>
    (closing ??= (async () => {
      const stopped = stopServer(server);
      await writer.close(closeTimeoutMs);
      await stopped;
      await tail.close();
    })());

  try {
    tail.start();
    await readToEnd(kafka, topic, tail, options.startTimeoutMs ?? 60_000);
    const port = await listen(server, host, options.port ?? 8081);
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
    return { url, port, problem: () => tail.problem, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Writes a marker and reads until it is seen. */
async function readToEnd(kafka: Kafka, topic: string, tail: Tail, timeoutMs: number): Promise<void> {
  const late = () => new SpoolError('KAFKA_UNAVAILABLE', `the topic ${topic} could not be read to its end within ${timeoutMs} ms`);
  const end = (await kafka.admin.offsets(topic)).find(({ partition }) => partition === 0);
  if (!(await tail.readPast(BigInt(end?.latest ?? 0n) - 1n, timeoutMs))) throw late();
  await using producer = await kafka.producer({ deliveryTimeoutMs: timeoutMs });
  // Compaction keeps the last marker alone: it must not name a lower id than one that another replica wrote meanwhile.
  for (let named = -1; named < tail.state.maxId;) {
    named = tail.state.maxId;
    const marker = await producer.send({ topic, partition: 0, ...encodeChange({ type: 'NOOP', maxId: named }) });
    if (!(await tail.readPast(marker.offset, timeoutMs))) throw late();
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      reject(
        taken ? new SpoolError('PORT_IN_USE', `port ${port} on ${host} is in use; the schema registry needs it`, { cause: error }) : error,
      );
    });
    server.listen(port, host, resolve);
  });
  return (server.address() as AddressInfo).port;
}

async function stopServer(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), closeTimeoutMs);
  await closed;
  clearTimeout(timer);
}
