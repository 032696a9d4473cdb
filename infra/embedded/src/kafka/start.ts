import { SpoolError } from '@spool/schemas';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Log } from '../log.js';
import { assertPortsFree, freePorts } from '../supervisor/ports.js';
import { superviseChild, type ChildState, type SupervisedChild } from '../supervisor/supervise.js';
import { makeTls, type SelfMadeTls } from './certificates.js';
import { kafkaFolder, kafkaJars } from './jars.js';
import { javaArgs, runKafkaTool } from './java.js';
import { untilBrokerServes } from './probe.js';
import { brokerProperties, propertiesFile, type KafkaUser, type Node } from './properties.js';

export interface KafkaOptions {
  /** Everything the brokers keep. It must not be shared with another running cluster. */
  readonly dataDir: string;
  /** Three make a replicated cluster on one machine, for tests of fail-over. The number is fixed by the first start. @default 1 */
  readonly brokers?: 1 | 3;
  /** One port for clients per broker. They may move between two starts. @default free ports */
  readonly ports?: readonly number[];
  /** One port per broker for the brokers among themselves. @default free ports */
  readonly controllerPorts?: readonly number[];
  /** The largest heap of each broker in MiB; below 256 a busy broker dies. @default 512 */
  readonly heapMb?: number;
  /** Flushes each write to the disk before it is acknowledged: survives a power cut, costs most of the throughput. @default false */
  readonly flushEveryWrite?: boolean;
  /** Clients must use SASL_SSL with one of these users: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Fixed by the first start. @default plaintext, no users */
  readonly security?: { readonly users: readonly KafkaUser[] };
  /** Aborting it stops the brokers, also while they start. */
  readonly signal?: AbortSignal;
  /** Called with each change of state of a broker. */
  readonly onState?: (broker: string, state: ChildState) => void;
  readonly log: Log;
}

export interface EmbeddedKafka extends AsyncDisposable {
  /** `host:port` of each broker. */
  readonly bootstrap: readonly string[];
  /** Of each broker; undefined while it is down. */
  readonly pids: readonly (number | undefined)[];
  readonly brokers: readonly SupervisedChild[];
  /** What a client has to trust; undefined without `security`. */
  readonly tls: Pick<SelfMadeTls, 'ca' | 'caFile'> | undefined;
  /** kill -9 of one broker; resolves when it is gone. It is started again by itself, after `awayMs` (default 0) at the earliest. */
  kill(index: number, awayMs?: number): Promise<void>;
  /** Stops one broker in order and starts it again; resolves when it serves. */
  restart(index: number): Promise<void>;
  /** Resolves when all brokers serve. @throws SpoolError UNAVAILABLE after `withinMs`; CHILD_FAILED */
  untilReady(withinMs: number): Promise<void>;
  /** Stops all brokers; each flushes what it holds. */
  close(): Promise<void>;
}

/**
 * Starts Apache Kafka in KRaft mode on loopback and resolves when every broker serves. A broker that dies is started again.
 * @throws SpoolError PORT_IN_USE, TOOL_MISSING, INVALID_CONFIG, or CHILD_FAILED when a broker cannot live.
 */
export async function startKafka(options: KafkaOptions): Promise<EmbeddedKafka> {
  const { brokers: count = 1, log } = options;
  const dataDir = resolve(options.dataDir);
  // 1. Jars and ports.
  const jars = await kafkaJars(log);
  const nodes = await planNodes(options, dataDir, count);
  // 2. What the listeners need.
  const tls = options.security === undefined ? undefined : await makeTls(join(dataDir, 'tls'));
  const security = options.security === undefined || tls === undefined ? undefined : { tls, users: checkedUsers(options.security.users) };
  // 3. Settings are written at each start; a format happens once.
  const clusterId = await clusterIdOf(dataDir, nodes.length);
  for (const node of nodes) {
    await mkdir(node.folder, { recursive: true });
    const properties = brokerProperties({ node, nodes, flushEveryWrite: options.flushEveryWrite ?? false, security });
    await writeFile(settingsOf(node), propertiesFile(properties), { mode: 0o600 });
    if (!existsSync(join(node.folder, 'log', 'meta.properties'))) await format(jars, node, clusterId, security?.users ?? []);
  }
  // 4. Start them together: a quorum needs more than one.
  const starts = await Promise.allSettled(nodes.map((node) => startBroker(node, jars, options)));
  const brokers = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  const close = async (): Promise<void> => {
    await Promise.all(brokers.map((broker) => broker.close()));
  };
  const failure = starts.find((start) => start.status === 'rejected');
  if (failure !== undefined) {
    await close();
    throw failure.reason;
  }
  return {
    bootstrap: nodes.map(({ clientPort }) => `127.0.0.1:${clientPort}`),
    get pids() {
      return brokers.map(({ pid }) => pid);
    },
    brokers,
    tls,
    kill: (index, awayMs) => at(brokers, index).kill(awayMs),
    restart: (index) => at(brokers, index).restart(),
    untilReady: async (withinMs) => {
      await Promise.all(brokers.map((broker) => broker.untilReady(withinMs)));
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function planNodes(options: KafkaOptions, dataDir: string, count: number): Promise<readonly Node[]> {
  // Taken in one call, so that no two are the same.
  const spare = await freePorts(3 * count);
  const { ports = spare.slice(0, count), controllerPorts = spare.slice(count, 2 * count) } = options;
  const internal = options.security === undefined ? [] : spare.slice(2 * count);
  if (ports.length !== count || controllerPorts.length !== count) {
    throw new SpoolError('INVALID_CONFIG', `${count} brokers need ${count} ports and ${count} controller ports.`);
  }
  await assertPortsFree([
    ...ports.map((port) => ({ name: 'Kafka', port, variable: 'SPOOL_KAFKA_PORT' })),
    ...controllerPorts.map((port) => ({ name: "Kafka's controller", port, variable: 'SPOOL_KAFKA_CONTROLLER_PORT' })),
  ]);
  return ports.map((clientPort, index) => ({
    id: index + 1,
    clientPort,
    controllerPort: controllerPorts[index]!,
    internalPort: internal[index],
    folder: join(dataDir, `broker-${index + 1}`),
  }));
}

const settingsOf = (node: Node): string => join(node.folder, 'server.properties');

/** The cluster's id, made by the first start. Another number of brokers would leave partitions without their replicas. */
async function clusterIdOf(dataDir: string, brokers: number): Promise<string> {
  const file = join(dataDir, 'cluster.json');
  if (existsSync(file)) {
    const known = JSON.parse(await readFile(file, 'utf8')) as { clusterId: string; brokers: number };
    if (known.brokers === brokers) return known.clusterId;
    throw new SpoolError(
      'INVALID_CONFIG',
      `${dataDir} holds a cluster of ${known.brokers} brokers, not of ${brokers}; use another folder.`,
    );
  }
  // The tool that formats the log takes an id that begins with a dash for an option.
  const clusterId = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url').replace(/^-/, 'A');
  await mkdir(dataDir, { recursive: true });
  await writeFile(file, JSON.stringify({ clusterId, brokers }));
  return clusterId;
}

async function format(jars: string, node: Node, clusterId: string, users: readonly KafkaUser[]): Promise<void> {
  const scram = users.flatMap(({ username, password }) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => ['--add-scram', `${mechanism}=[name=${username},password=${password}]`]),
  );
  await runKafkaTool(jars, 'kafka.tools.StorageTool', ['format', '-t', clusterId, '-c', settingsOf(node), ...scram]);
}

function startBroker(node: Node, jars: string, options: KafkaOptions): Promise<SupervisedChild> {
  const name = `kafka-${node.id}`;
  const { heapMb = 512, onState, signal: abort } = options;
  const java = [
    `-Xmx${heapMb}m`,
    // As Kafka's own start script; the full JIT, since a broker compiled with C1 alone serves slower all its life.
    '-XX:+UseG1GC',
    '-XX:MaxGCPauseMillis=20',
    '-XX:InitiatingHeapOccupancyPercent=35',
    '-XX:+ExplicitGCInvokesConcurrent',
    '-Djava.awt.headless=true',
    `-Dlog4j2.configurationFile=${join(kafkaFolder, 'log4j2.xml')}`,
    `-Dspool.broker.log=${join(node.folder, 'broker.log')}`,
  ];
  return superviseChild({
    name,
    command: 'java',
    args: javaArgs(jars, java, 'kafka.Kafka', [settingsOf(node)]),
    logFile: join(node.folder, 'console.log'),
    ready: (signal) => untilBrokerServes(node.internalPort ?? node.clientPort, node.id, signal),
    // An ordered stop moves leaders away first, if there are others, and flushes.
    stopTimeoutMs: 30_000,
    ...(abort === undefined ? {} : { signal: abort }),
    ...(onState === undefined ? {} : { onState: (state) => onState(name, state) }),
  });
}

const userPattern = /^[A-Za-z0-9._-]+$/;

function checkedUsers(users: readonly KafkaUser[]): readonly KafkaUser[] {
  const bad = users.find(({ username, password }) => !userPattern.test(username) || !userPattern.test(password));
  if (bad === undefined) return users;
  throw new SpoolError(
    'INVALID_CONFIG',
    `The name and password of the Kafka user ${bad.username} may have letters, digits, '.', '_' and '-' only.`,
  );
}

function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new RangeError(`There is no broker ${index}.`);
  return found;
}
