import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePorts, superviseChild, type SupervisedChild } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { clusterProcessor, openSettings } from '@spool/services/cluster';
import { connectKafka, leaseGrantor, openInstance, platformBundle, platformTopics, topicCatalogue } from '@spool/streams';
import { nodeCommand } from '../../engine/start.js';
import { quantile } from '../../report.js';
import { again, quietMs } from '../disturbances.js';
import { openBridge, type OpenBridge } from './bridge.js';
import {
  destinationOf,
  journalFile,
  nothingArrived,
  readJournal,
  reportFile,
  type Journal,
  type NodeConfig,
  type NodeReport,
} from './node.js';

export interface GatewayChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  /** Durable ones, and as many transient ones, over all nodes. */
  readonly events: number;
  /** Of each kind, from each node. */
  readonly perSecond: number;
  /** One after the other, while events flow. */
  readonly disturbances: readonly NodeDisturbance[];
  /** A node is put into a network of its own, so that it can be cut off; takes a kernel that lets one do so. */
  readonly ownNetwork: boolean;
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}
export interface NodeDisturbance {
  readonly kind: 'stop' | 'cut' | 'kill' | 'http' | 'kafka';
  readonly forMs: number;
}

export interface GatewayChaosReport {
  readonly found: readonly string[];
  /** Of durable events, in milliseconds. */
  readonly calm: Delays;
  /** While another node was stopped, cut off or killed. */
  readonly disturbed: Delays;
}
export interface Delays {
  readonly events: number;
  readonly p50: number;
  readonly p99: number;
}

/** What one node has fired, and what it says that came of it. */
export interface NodeEvidence {
  readonly node: string;
  readonly journal: Journal;
  readonly report: NodeReport;
  /** It was killed: what it had counted of its transient events is gone with it. */
  readonly killed: boolean;
}

const nodes = ['node-0', 'node-1', 'node-2', 'node-3'] as const;
/** Stopped and killed; the last one is cut off. */
const victims = { stop: 'node-1', kill: 'node-2', cut: 'node-3' } as const;
const betweenMs = 1500;
const main = fileURLToPath(new URL('main.js', import.meta.url));

/** Four nodes fire at each other, while one of them is stopped, cut off or killed, and while the way of their events is switched. */
export async function chaosGateway(options: GatewayChaosOptions): Promise<GatewayChaosReport> {
  const { brokers, dataDir, progress } = options;
  const namespace = `nodes-${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  const over = AbortSignal.timeout(options.deadlineMs);
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics([...platformTopics(topics), ...nodes.map((node) => topics.inbox(node))]);
  const codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
  const log = (): void => undefined;
  const about = { kafka, codec, topics, bundle: platformBundle, version: '1.0.0', instance: 'platform-0', dataDir, log, now: Date.now };
  await using platform = await openInstance(about);
  await platform.run(leaseGrantor(platform));
  await platform.run(clusterProcessor(platform));
  const settings = await openSettings(platform);
  const [port] = await freePorts(1);
  const bridge = {
    ...{ in: port!, folder: await mkdtemp(join(dataDir, 'bridge-')) },
    out: [...brokers.map((broker) => Number(broker.split(':').at(-1))), Number(new URL(schemas.url).port)],
  };
  const network: OpenBridge | undefined = options.ownNetwork ? await openBridge(bridge) : undefined;
  const children = new Map<string, SupervisedChild>();
  try {
    for (const node of nodes) {
      const own = network !== undefined && node === victims.cut;
      const config: NodeConfig = {
        ...{ node, nodes, brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, perSecond: options.perSecond },
        ...{ events: Math.ceil(options.events / nodes.length), ...(own ? { bridge } : {}) },
      };
      const command = nodeCommand([main, JSON.stringify(config)]);
      const child = await superviseChild({
        ...(own ? inOwnNetwork(command) : command),
        ...{ name: node, logFile: join(dataDir, `${node}.log`), restart: again },
      });
      children.set(node, child);
    }
    const reports = (): Promise<readonly NodeReport[]> => Promise.all(nodes.map((node) => readReport(dataDir, node)));
    while ((await reports()).some(({ arrived }) => Object.values(arrived).every(({ durable }) => durable === 0)))
      await sleep(100, undefined, { signal: over });

    const began = Date.now();
    const windows: { readonly from: number; readonly to: number; readonly node: string }[] = [];
    for (const { kind, forMs } of options.disturbances) {
      await sleep(betweenMs, undefined, { signal: over });
      if (kind === 'http' || kind === 'kafka') {
        await settings.change({ nodeEvents: kind }, undefined, { name: 'chaos', roles: [] });
        progress(`events go over ${kind}`);
        continue;
      }
      const victim = victims[kind];
      const from = Date.now();
      const child = children.get(victim)!;
      if (kind === 'kill') {
        await child.kill(forMs);
        await child.untilReady(quietMs);
      } else if (kind === 'stop') {
        const pid = child.pid!;
        process.kill(pid, 'SIGSTOP');
        await sleep(forMs);
        process.kill(pid, 'SIGCONT');
      } else {
        network!.cut();
        await sleep(forMs);
        network!.mend();
      }
      windows.push({ from, to: Date.now(), node: victim });
      progress(`${victim}: ${kind}, ${Date.now() - from} ms`);
    }
    // Until all have fired what they had to, and nothing comes any more.
    let [before, since] = ['', Date.now()];
    for (;;) {
      await sleep(500, undefined, { signal: over });
      const all = await reports();
      const now = JSON.stringify(all.map(({ arrived, received }) => [arrived, received]));
      if (now !== before) [before, since] = [now, Date.now()];
      const arrived = all.flatMap((report) => Object.values(report.arrived)).reduce((sum, { durable }) => sum + durable, 0);
      if (all.every(({ done }) => done) && Date.now() - since > 1500) {
        progress(`${arrived} durable events have come`);
        break;
      }
    }
    for (const child of children.values()) await child.close();
    const killed = new Set<string>(options.disturbances.flatMap(({ kind }) => (kind === 'kill' ? [victims.kill] : [])));
    const evidence = (await reports()).map((report, index): NodeEvidence => {
      const node = nodes[index]!;
      return { node, report, journal: readJournal(journalFile(dataDir, node)), killed: killed.has(node) };
    });
    // Of events fired when all were there.
    const delays = evidence.flatMap(({ node, report }) =>
      report.delays
        .filter(([at, , tookMs]) => at - tookMs >= began)
        .map(([at, sender, tookMs]) => {
          const beside = windows.filter(({ from, to }) => at >= from && at - tookMs <= to);
          return { tookMs, calm: beside.length === 0, touched: beside.some((window) => window.node === node || window.node === sender) };
        }),
    );
    return {
      found: differences(evidence),
      calm: delaysOf(delays.filter(({ calm }) => calm)),
      disturbed: delaysOf(delays.filter(({ calm, touched }) => !calm && !touched)),
    };
  } finally {
    for (const child of children.values()) await child.close();
    await network?.close();
  }
}

const inOwnNetwork = <C extends { readonly command: string; readonly args: readonly string[] }>(command: C): C => ({
  ...command,
  command: 'unshare',
  args: ['--map-root-user', '--net', 'sh', '-c', 'ip link set lo up && exec "$0" "$@"', command.command, ...command.args],
});

async function readReport(dataDir: string, node: string): Promise<NodeReport> {
  try {
    return JSON.parse(await readFile(reportFile(dataDir, node), 'utf8')) as NodeReport;
  } catch {
    return { done: false, lanes: [], received: [], arrived: {}, delays: [] };
  }
}

function delaysOf(delays: readonly { readonly tookMs: number }[]): Delays {
  const sorted = delays.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  const at = (q: number): number => (sorted.length === 0 ? 0 : quantile(sorted, q));
  return { events: sorted.length, p50: at(0.5), p99: at(0.99) };
}

/** Holds what has come against what was fired. */
export function differences(evidence: readonly NodeEvidence[]): readonly string[] {
  const names = evidence.map(({ node }) => node);
  return evidence.flatMap((sender) =>
    evidence
      .filter(({ node }) => node !== sender.node)
      .flatMap((receiver) => {
        const way = `${sender.node} to ${receiver.node}`;
        const numbers = (kind: Journal[number]['kind']): number =>
          sender.journal
            .filter((line) => line.kind === kind)
            .reduce((sum, { from, to }) => sum + countTo(names, sender.node, receiver.node, from, to), 0);
        const [fires, fired] = [numbers('fires'), numbers('fired')];
        const { durable, twice, behind, transient } = receiver.report.arrived[sender.node] ?? nothingArrived;
        const found: string[] = [];
        if (durable < fired || durable > fires) found.push(`${way}: ${fired} durable events were safe, ${fires} begun, ${durable} came`);
        if (twice > 0) found.push(`${way}: ${twice} durable events came twice`);
        if (behind > 0) found.push(`${way}: ${behind} durable events came behind later ones`);
        // What it counted is gone with a node that was killed.
        if (sender.killed) return found;
        const lane = sender.report.lanes.find(({ node }) => node === receiver.node);
        const dropped = (lane?.dropped ?? 0) + (receiver.report.received.find((each) => each.sender === sender.node)?.missing ?? 0);
        if (transient + dropped !== fired)
          found.push(`${way}: ${fired} transient events were fired, ${transient} came, ${dropped} are counted as lost`);
        return found;
      }),
  );
}

const countTo = (nodes: readonly string[], sender: string, receiver: string, from: number, to: number): number =>
  Array.from({ length: to - from + 1 }, (_, index) => destinationOf(nodes, sender, from + index)).filter((each) => each === receiver)
    .length;
