import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { bundle, startBundle } from '@spool/sdk';
import { openNode, type LaneStatus, type Node, type Received } from '@spool/sdk/nodes';
import type { CarriedEvent } from '@spool/sdk/routed';
import { connectKafka, topicCatalogue } from '@spool/streams';
import { openFarEnd, type Bridge } from './bridge.js';

/** What a node process is started with, as its only argument. */
export interface NodeConfig {
  readonly node: string;
  /** All of them. */
  readonly nodes: readonly string[];
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly dataDir: string;
  /** Events that it fires, durable ones and as many transient ones, to the others in turn. */
  readonly events: number;
  /** Of each kind. */
  readonly perSecond: number;
  /** Where it stands in a network of its own. */
  readonly bridge?: Bridge;
}

/** What a node says of itself, a few times a second. */
export interface NodeReport {
  /** It has fired all, and nothing waits. */
  readonly done: boolean;
  readonly lanes: readonly LaneStatus[];
  readonly received: readonly Received[];
  /** By sender: durable events, how many came more than once, how many behind a later one, and transient ones. */
  readonly arrived: Readonly<Record<string, Arrived>>;
  /** When a durable event came from whom, and how long it had taken; milliseconds. */
  readonly delays: readonly (readonly [at: number, sender: string, tookMs: number])[];
}
export interface Arrived {
  readonly durable: number;
  readonly twice: number;
  readonly behind: number;
  readonly transient: number;
  readonly last: number;
}
export const nothingArrived: Arrived = { durable: 0, twice: 0, behind: 0, transient: 0, last: 0 };

/** What a node has fired, in the order of its lines: `fires` is on the disk before, `fired` after all of them are safe. */
export type Journal = readonly { readonly kind: 'fires' | 'fired'; readonly from: number; readonly to: number }[];

export const reportFile = (dataDir: string, node: string): string => join(dataDir, `${node}.report.json`);
export const journalFile = (dataDir: string, node: string): string => join(dataDir, `${node}.journal`);
export const readJournal = (file: string): Journal =>
  !existsSync(file)
    ? []
    : readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Journal[number]);
/** The destination of an event, by its number. */
export const destinationOf = (nodes: readonly string[], node: string, n: number): string => {
  const others = nodes.filter((each) => each !== node);
  return others[n % others.length]!;
};

const batch = 30;
const reportEveryMs = 250;

/** Fires what it has to, and keeps what comes. */
export async function startNode(config: NodeConfig): Promise<{ close(): Promise<void> }> {
  const { node: name, nodes, brokers, schemaRegistryUrl, namespace, dataDir, bridge } = config;
  const log = (level: string, message: string, fields?: object): void =>
    console.log(new Date().toISOString(), level, message, fields ?? '');
  const farEnd = bridge && (await openFarEnd(bridge));
  const kafka = await connectKafka({ brokers, clientId: name });
  const codec = createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) });
  const endpoint = { key: 'a key that all nodes of the run have', ...(bridge === undefined ? {} : { port: bridge.in }) };
  const running = await startBundle(bundle({ id: name, version: '1.0.0', components: [] }), {
    ...{ kafka, codec, topics: topicCatalogue({ namespace }), instance: name, dataDir, log, endpoint },
  });
  const node = await openNode(running, { lookEveryMs: 500 });
  const delays: [number, string, number][] = [];
  const keep = ({ emitter: { id: sender }, delivery, at, value }: CarriedEvent): void => {
    const before = (node.rows.get(sender) as Arrived | undefined) ?? nothingArrived;
    if (delivery === 'transient') return node.rows.put(sender, { ...before, transient: before.transient + 1 });
    const n = Number(Buffer.from(value).toString());
    const key = `${sender}/${n}`;
    const twice = node.rows.get(key) === undefined ? 0 : 1;
    node.rows.put(key, true);
    const counted = { durable: before.durable + 1 - twice, twice: before.twice + twice, behind: before.behind + (n < before.last ? 1 : 0) };
    node.rows.put(sender, { ...before, ...counted, last: Math.max(n, before.last) });
    const now = Date.now();
    delays.push([now, sender, now - at]);
  };
  await node.subscribe({ routing: 'chaos.#' }, keep);
  const stop = new AbortController();
  let fired = false;
  const report = (): void => {
    const arrived = Object.fromEntries(nodes.map((sender) => [sender, (node.rows.get(sender) as Arrived | undefined) ?? nothingArrived]));
    const lanes = node.lanes();
    const done = fired && lanes.every(({ waiting }) => waiting === 0);
    const file = reportFile(dataDir, name);
    writeFileSync(`${file}.new`, JSON.stringify({ done, lanes, received: node.received(), arrived, delays } satisfies NodeReport));
    renameSync(`${file}.new`, file);
  };
  const timer = setInterval(report, reportEveryMs);
  const firing = fireAll(config, node, stop.signal).then(
    () => (fired = true),
    (error: unknown) => log('error', 'it cannot fire', { error: String(error) }),
  );
  return {
    async close() {
      stop.abort();
      await firing;
      clearInterval(timer);
      report();
      await node.close();
      await running.close();
      await kafka.close();
      await farEnd?.close();
    },
  };
}

async function fireAll({ node: name, nodes, dataDir, events, perSecond }: NodeConfig, node: Node, stop: AbortSignal): Promise<void> {
  const file = journalFile(dataDir, name);
  const tell = (kind: 'fires' | 'fired', from: number, to: number): void => appendFileSync(file, `${JSON.stringify({ kind, from, to })}\n`);
  const fire = async (delivery: CarriedEvent['delivery'], n: number): Promise<void> => {
    const event: CarriedEvent = {
      ...{
        id: `${name}/${delivery}/${n}`,
        routing: `chaos.data.nodes.info.${delivery}`,
        emitter: { host: hostname().replaceAll('.', '-'), kind: 'node', id: name },
      },
      ...{ at: Date.now(), delivery, contentType: 'text/plain', value: Buffer.from(String(n)) },
    };
    await node.send(event, { scope: 'node', node: destinationOf(nodes, name, n) });
  };
  const there = (): boolean => node.lanes().filter(({ lastSeen }) => lastSeen !== undefined).length === nodes.length;
  while (!there()) await sleep(50, undefined, { signal: stop });
  const began = performance.now();
  // A run before this one may have been killed in the midst of its last batch: nobody knows what became of that.
  const start = Math.max(0, ...readJournal(file).map(({ to }) => to)) + 1;
  for (let from = start; from <= events && !stop.aborted; from += batch) {
    const to = Math.min(events, from + batch - 1);
    tell('fires', from, to);
    const numbers = Array.from({ length: to - from + 1 }, (_, index) => from + index);
    await Promise.all(numbers.flatMap((n) => [fire('durable', n), fire('transient', n)]));
    tell('fired', from, to);
    await sleep(Math.max(0, ((to - start + 1) * 1000) / perSecond - (performance.now() - began)));
  }
}
