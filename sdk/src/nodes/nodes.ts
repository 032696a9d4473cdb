import { SpoolError } from '@spool/schemas';
import type { Instance, Kafka, Log, Producer, Store, Table, TopicCatalogue } from '@spool/streams';
import type { Instances } from '../cluster/instances.js';
import type { Endpoint } from '../endpoint/endpoint.js';
import { createFanOut } from '../routed/fan-out.js';
import type { Events } from '../routed/events.js';
import { eventsOver, type EventsOfInstance } from '../routed/instance-events.js';
import type { Destination, EventTransport } from '../routed/transport.js';
import { fromBody, readTaken, takenBody, toBody, toRecord, type Arrival, type Taken } from './arrival.js';
import { drainMs, openInbox, type Received } from './inbox.js';
import { openLane, type Lane, type LaneStatus, type Peer } from './lane.js';

export interface NodeOptions {
  /** Events that may wait for one node; more durable ones are refused with OVERLOADED, more transient ones dropped. @default 10000 */
  readonly maxWaiting?: number;
  /** How often new nodes are looked for, in milliseconds; a change among the instances is looked at at once. @default 5000 */
  readonly lookEveryMs?: number;
}

/** What a node is made of; `openNode` takes it from a running bundle. */
export interface NodeParts {
  readonly node: string;
  readonly run: string;
  readonly kafka: Kafka;
  readonly topics: TopicCatalogue;
  readonly producer: Producer;
  readonly store: Store;
  readonly peers: { get(node: string): Peer | undefined; onChange(listener: () => void): () => void };
  /** Whether events go directly; asked for each batch. */
  readonly direct: () => boolean;
  readonly endpoint: Pick<Endpoint, 'route' | 'tokens'>;
  readonly now: () => number;
  readonly log: Log;
}

/** Events between named nodes: those for one, and those for all, a lane to each. */
export interface Node extends EventTransport {
  /** What waits for each of the others, and what became of the rest. */
  lanes(): readonly LaneStatus[];
  /** What has come from each of the others. */
  received(): readonly Received[];
  /**
   * Rows that are kept with the place of this node in its events: what a subscriber puts there while it handles a durable event counts once, whatever is
   * killed. What it does elsewhere may be done again after kill -9.
   */
  readonly rows: Table<unknown>;
}

const path = '/v1/node-events';
/** An answer that takes longer is not waited for: the events go by the log then. */
const postWithinMs = 2000;

/** @throws SpoolError KAFKA_UNAVAILABLE */
export async function openNodeOf(parts: NodeParts, { maxWaiting = 10_000, lookEveryMs = 5000 }: NodeOptions = {}): Promise<Node> {
  const { node, run, kafka, topics, producer, peers, endpoint, now, log } = parts;
  const prefix = topics.inbox('').name;
  const fanOut = createFanOut({ log, drainMs });
  const inbox = openInbox({ kafka, topic: topics.inbox(node).name, run, store: parts.store, fanOut, log });
  const lanes = new Map<string, Lane>();
  let begun: Promise<void> | undefined;
  let subscribers = 0;
  let closing: Promise<void> | undefined;

  const post = async ({ location }: { readonly location: string }, to: string, arrivals: readonly Arrival[]): Promise<Taken> => {
    const authorization = `Bearer ${await (await endpoint.tokens()).issue(to)}`;
    const body = toBody(node, arrivals);
    const signal = AbortSignal.timeout(postWithinMs);
    const response = await fetch(location + path, { method: 'POST', headers: { authorization }, body, signal });
    const answer = new Uint8Array(await response.arrayBuffer());
    if (!response.ok) throw new SpoolError('UNAVAILABLE', `${to} answered ${response.status}`);
    return readTaken(answer);
  };
  /** Whoever has an inbox is a node, also while it is away. */
  const look = async (): Promise<void> => {
    for (const topic of await kafka.admin.listTopics()) {
      const to = topic.slice(prefix.length);
      if (!topic.startsWith(prefix) || lanes.has(to)) continue;
      const lane = openLane({
        ...{ node: to, self: { node, run }, maxWaiting, now, direct: parts.direct, peer: () => peers.get(to) },
        toLog: (arrivals) => producer.sendAll(arrivals.map((arrival) => toRecord(topic, arrival))),
        post: (peer, arrivals) => post(peer, to, arrivals),
      });
      lanes.set(to, lane);
    }
  };
  const lookLater = (): void => void look().catch((error: unknown) => log('warn', 'new nodes cannot be found', { error: String(error) }));
  const laneTo = async (to: string): Promise<Lane> => {
    if (!lanes.has(to)) await look();
    const lane = lanes.get(to);
    if (lane === undefined) throw new SpoolError('INVALID_REQUEST', `there is no node ${to}: none of this name has ever subscribed`);
    return lane;
  };
  /** From then on others find it. */
  const begin = async (): Promise<void> => {
    await kafka.admin.ensureTopics([topics.inbox(node)]);
    await endpoint.route(path, async ({ caller, body }) => {
      const { sender, arrivals } = fromBody(body, now());
      if (caller.instance !== sender) throw new SpoolError('FORBIDDEN', `${caller.instance} may not send for ${sender}`);
      return { body: takenBody(await inbox.take(sender, arrivals)) };
    });
    await look();
  };
  await look();
  const forget = peers.onChange(lookLater);
  const timer = setInterval(lookLater, lookEveryMs);

  const assertOpen = (): void => {
    if (closing !== undefined) throw new SpoolError('UNAVAILABLE', `node ${node} is closed`);
  };
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      clearInterval(timer);
      forget();
      await Promise.all([...lanes.values()].map((lane) => lane.close()));
      await begun?.catch(() => undefined);
      await inbox.close();
      await parts.store.close();
    })());
  return {
    async send(event, to: Destination) {
      assertOpen();
      if (to.scope === 'local') return fanOut.publish(event);
      if (to.scope === 'node') return (await laneTo(to.node)).send(event);
      const sent = await Promise.allSettled([...lanes.values()].map((lane) => lane.send(event)));
      for (const each of sent) if (each.status === 'rejected') throw each.reason as Error;
    },
    async subscribe(pattern, deliver) {
      assertOpen();
      const subscription = fanOut.subscribe(pattern, deliver);
      subscribers += 1;
      let leaving: Promise<void> | undefined;
      const leave = async (): Promise<void> => {
        subscribers -= 1;
        // What comes while nobody is there waits.
        if (subscribers === 0) await inbox.pause();
        await subscription.close();
      };
      const closeOnce = (): Promise<void> => (leaving ??= leave());
      try {
        begun ??= begin();
        await begun;
        await inbox.begin();
      } catch (error) {
        begun = undefined;
        await closeOnce();
        throw error;
      }
      return { close: closeOnce };
    },
    lanes: () => [...lanes.values()].map(({ status }) => status),
    received: () => inbox.received(),
    rows: inbox.rows,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What a node takes of a running bundle. */
export interface NodeHome {
  readonly instance: Instance;
  readonly instances: Instances;
  readonly endpoint: Endpoint;
}

/** The events of a running bundle, between nodes; they end with `close`, before the bundle. */
export const nodeEvents = (home: NodeHome, { maxWaiting, lookEveryMs, ...rest }: NodeOptions & EventsOfInstance = {}): Events =>
  eventsOver(
    home.instance,
    () => openNode(home, { ...(maxWaiting === undefined ? {} : { maxWaiting }), ...(lookEveryMs === undefined ? {} : { lookEveryMs }) }),
    rest,
  );

/** The node of a running bundle, by the id of its instance. It is closed before the bundle. */
export function openNode({ instance, instances, endpoint }: NodeHome, options: NodeOptions = {}): Promise<Node> {
  const { id, incarnation, kafka, topics, producer, now, log, config } = instance;
  return openNodeOf(
    {
      ...{ node: id, run: incarnation, kafka, topics, producer, endpoint, now, log },
      store: instance.openStore('node', '0'),
      direct: () => config.current.nodeEvents === 'http',
      peers: {
        get(node) {
          const row = instances.get(node);
          return row && { up: row.state === 'up', run: row.incarnation, location: row.location ?? undefined };
        },
        onChange: (listener) => instances.onChange(listener),
      },
    },
    options,
  );
}
