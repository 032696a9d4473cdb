import { SpoolError } from '@spool/schemas';
import {
  offset,
  type ConsumedRecord,
  type Reader,
  type ReaderOptions,
  type Slice,
  type StartPosition,
  type TopicPartition,
} from '../port.js';
import { backoffMs } from '../backoff.js';
import { BrokerError, Code, isConnectionError, isTransient, isTransientCode, kafkaError } from './broker-errors.js';
import type { Cluster } from './cluster.js';
import { decodeRecords } from './decode.js';
import { fetchMessage, type FetchedPartition } from './fetch.js';
import { listOffsetsMessage } from './messages.js';

const MAX_BYTES = 32 * 1024 * 1024;
const UNKNOWN_TOPIC_AFTER_MS = 5_000;

/** A partition being read. Replaced as a whole by `assign`, so that an answer to an earlier fetch finds itself orphaned. */
interface Track {
  readonly topic: string;
  readonly partition: number;
  /** Not resolved to an offset yet. */
  start: StartPosition | undefined;
  /** Where the next fetch starts. */
  position: number;
  paused: boolean;
  /** Last seen, to tell whether they moved. */
  highWatermark: number;
  lastStableOffset: number;
  /** Since when it has not been answered, by `performance.now()`. */
  failingSince: number | undefined;
  attempts: number;
  /** Not before this time, after a failure. */
  notBefore: number;
  /** The last answer held nothing although there was something to read: it goes first in the next request. */
  starved: boolean;
}

export class PartitionReader implements Reader {
  readonly #cluster: Cluster;
  readonly #readCommitted: boolean;
  readonly #maxWaitMs: number;
  readonly #maxBytesPerPartition: number;
  readonly #unavailableAfterMs: number;
  readonly #onOutOfRange: ReaderOptions['onOutOfRange'];
  readonly #tracks = new Map<string, Track>();
  /** One request for each broker. */
  readonly #inFlight = new Map<number, Promise<void>>();
  #arrived: { readonly track: Track; readonly from: number; readonly slice: Slice }[] = [];
  #wake: (() => void) | undefined;
  #resolving: Promise<void> | undefined;
  #fetching = false;
  #closed = false;
  #failure: SpoolError | undefined;

  constructor(cluster: Cluster, options: ReaderOptions) {
    this.#cluster = cluster;
    this.#readCommitted = (options.isolation ?? 'read_committed') === 'read_committed';
    this.#maxWaitMs = options.maxWaitMs ?? 250;
    this.#maxBytesPerPartition = options.maxBytesPerPartition ?? 1024 * 1024;
    this.#unavailableAfterMs = options.unavailableAfterMs ?? 60_000;
    this.#onOutOfRange = options.onOutOfRange;
  }

  /** Connects, so that a cluster that cannot be reached or refuses us shows at once. */
  async open(): Promise<this> {
    await this.#cluster.persist('connect a reader', () => this.#cluster.anyNode());
    return this;
  }

  assign({ topic, partition }: TopicPartition, start: StartPosition): void {
    this.#tracks.set(key(topic, partition), {
      topic,
      partition,
      start: typeof start === 'bigint' ? undefined : start,
      position: typeof start === 'bigint' ? Number(start) : -1,
      paused: false,
      highWatermark: -1,
      lastStableOffset: -1,
      failingSince: undefined,
      attempts: 0,
      notBefore: 0,
      starved: false,
    });
    this.#wake?.();
  }

  unassign({ topic, partition }: TopicPartition): void {
    this.#tracks.delete(key(topic, partition));
  }

  pause({ topic, partition }: TopicPartition): void {
    const track = this.#tracks.get(key(topic, partition));
    if (track) track.paused = true;
  }

  resume({ topic, partition }: TopicPartition): void {
    const track = this.#tracks.get(key(topic, partition));
    if (!track) return;
    track.paused = false;
    this.#wake?.();
  }

  async fetch(): Promise<readonly Slice[]> {
    if (this.#fetching) throw new SpoolError('INTERNAL', 'a fetch of this reader is under way already');
    this.#fetching = true;
    try {
      const end = performance.now() + this.#maxWaitMs;
      for (;;) {
        if (this.#closed) return [];
        if (this.#failure) {
          const failure = this.#failure;
          this.#failure = undefined;
          throw failure;
        }
        const slices = this.#take();
        if (slices.length > 0) return slices;
        const left = end - performance.now();
        if (left <= 0) return [];
        const soonest = this.#request();
        await this.#sleepUntilWoken(Math.min(left, soonest));
      }
    } finally {
      this.#fetching = false;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#cluster.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What has arrived for partitions that are still assigned as they were asked for and not paused; positions move on here alone. */
  #take(): readonly Slice[] {
    const slices: Slice[] = [];
    for (const { track, from, slice } of this.#arrived) {
      if (this.#tracks.get(key(track.topic, track.partition)) !== track) continue;
      if (!track.paused) slices.push(slice);
      else {
        track.position = from; // it is read again after `resume`
        track.highWatermark = -1;
      }
    }
    this.#arrived = [];
    return slices;
  }

  /** Sends what can be sent; gives the milliseconds until a partition that failed may be tried again. */
  #request(): number {
    const now = performance.now();
    const byNode = new Map<number, Track[]>();
    const unresolved: Track[] = [];
    const leaderless = new Set<string>();
    let soonest = Number.POSITIVE_INFINITY;
    for (const track of this.#tracks.values()) {
      if (track.paused) continue;
      if (track.notBefore > now) {
        soonest = Math.min(soonest, track.notBefore - now);
        continue;
      }
      const node = this.#cluster.leader(track.topic, track.partition);
      if (node === undefined) leaderless.add(track.topic);
      else if (track.start !== undefined) unresolved.push(track);
      else {
        const tracks = byNode.get(node);
        if (tracks) tracks.push(track);
        else byNode.set(node, [track]);
      }
    }
    if ((unresolved.length > 0 || leaderless.size > 0) && !this.#resolving) {
      this.#resolving = this.#prepare(leaderless, unresolved).finally(() => {
        this.#resolving = undefined;
        this.#wake?.();
      });
    }
    for (const [node, tracks] of byNode) {
      if (this.#inFlight.has(node)) continue;
      this.#inFlight.set(
        node,
        this.#fetchFrom(node, tracks).finally(() => {
          this.#inFlight.delete(node);
          this.#wake?.();
        }),
      );
    }
    return Math.max(1, soonest);
  }

  /** Finds leaders and turns 'earliest', 'latest' and times into offsets. */
  async #prepare(leaderless: ReadonlySet<string>, unresolved: readonly Track[]): Promise<void> {
    if (leaderless.size > 0) {
      try {
        await this.#cluster.refresh(leaderless);
      } catch (thrown) {
        this.#failedAll(
          [...this.#tracks.values()].filter(({ topic }) => leaderless.has(topic)),
          thrown,
        );
      }
      for (const track of this.#tracks.values())
        if (leaderless.has(track.topic) && this.#cluster.leader(track.topic, track.partition) === undefined)
          this.#failed(track, new BrokerError(this.#cluster.known(track.topic)?.error || Code.LEADER_NOT_AVAILABLE, track.topic));
    }
    await Promise.all(
      unresolved.map(async (track) => {
        try {
          const { start } = track;
          const timestamp = start === 'earliest' ? -2 : start === 'latest' ? -1 : Math.max(0, (start as { timestamp: number }).timestamp);
          let found = await this.#offsetAt(track, timestamp);
          if (found < 0) found = await this.#offsetAt(track, -1);
          track.position = found;
          track.start = undefined;
          recovered(track);
        } catch (thrown) {
          this.#failed(track, thrown);
          if (isTransient(thrown)) await this.#cluster.refresh([track.topic]).catch(() => undefined);
        }
      }),
    );
  }

  async #offsetAt({ topic, partition }: Track, timestamp: number, readCommitted = this.#readCommitted): Promise<number> {
    const leader = this.#cluster.leader(topic, partition);
    if (leader === undefined) throw new BrokerError(Code.LEADER_NOT_AVAILABLE, `${topic}-${partition}`);
    const broker = await this.#cluster.node(leader);
    const [answer] = await broker.connectionPool.send(listOffsetsMessage([{ topic, partition, timestamp }], readCommitted));
    if (!answer || answer.code !== Code.NONE)
      throw new BrokerError(answer?.code ?? Code.LEADER_NOT_AVAILABLE, `offsets of ${topic}-${partition}`);
    return answer.offset;
  }

  async #fetchFrom(node: number, tracks: readonly Track[]): Promise<void> {
    // the broker fills its answer in this order: who got nothing last time goes first
    const ordered = [...tracks].sort((a, b) => Number(b.starved) - Number(a.starved));
    const asked = new Map(ordered.map((track) => [key(track.topic, track.partition), { track, position: track.position }]));
    try {
      const broker = await this.#cluster.node(node);
      const answers = await broker.connectionPool
        .send(
          fetchMessage(
            ordered.map(({ topic, partition, position }) => ({ topic, partition, offset: position })),
            {
              readCommitted: this.#readCommitted,
              // where a new partition stands is told at once, not after a wait for its next record
              maxWaitMs: ordered.some(({ highWatermark }) => highWatermark < 0) ? 0 : this.#maxWaitMs,
              maxBytes: MAX_BYTES,
              maxBytesPerPartition: this.#maxBytesPerPartition,
            },
          ),
        )
        .catch((thrown: unknown) => {
          if (isConnectionError(thrown)) this.#cluster.drop(broker);
          throw thrown;
        });
      const byKey = new Map(answers.map((answer) => [key(answer.topic, answer.partition), answer]));
      let bytes = 0;
      for (const [id, { track, position }] of asked) {
        const answer = byKey.get(id);
        if (!answer) continue;
        // a partition is only passed over when the ones before it in the request filled the answer
        await this.#received(track, position, answer, bytes === 0).catch((thrown: unknown) => {
          this.#failed(track, thrown); // one that cannot be read holds up no other
        });
        bytes += answer.batches.length;
      }
    } catch (thrown) {
      this.#failedAll(tracks, thrown);
      if (isTransient(thrown)) await this.#cluster.refresh(new Set(tracks.map(({ topic }) => topic))).catch(() => undefined);
    }
  }

  async #received(track: Track, position: number, answer: FetchedPartition, hadRoom: boolean): Promise<void> {
    const current = () => this.#tracks.get(key(track.topic, track.partition)) === track && !track.paused && track.position === position;
    if (!current()) return;
    if (answer.code === Code.OFFSET_OUT_OF_RANGE) return this.#outOfRange(track);
    if (answer.code !== Code.NONE) {
      this.#failed(track, new BrokerError(answer.code, `fetch ${track.topic}-${track.partition}`));
      if (isTransientCode(answer.code)) await this.#cluster.refresh([track.topic]).catch(() => undefined);
      return;
    }
    const highWatermark = answer.highWatermark;
    const lastStableOffset = this.#readCommitted ? answer.lastStableOffset : highWatermark;
    const { records, nextOffset } = await decodeRecords(answer, position, this.#readCommitted);
    if (!current()) return;
    recovered(track);
    // nothing at all, though there should be something: the tail was compacted away, and waiting for it would never end
    const hole = answer.batches.length === 0 && position < lastStableOffset;
    track.starved = hole && !hadRoom;
    const next = hole && hadRoom ? lastStableOffset : nextOffset;
    const moved = next !== position || highWatermark !== track.highWatermark || lastStableOffset !== track.lastStableOffset;
    track.position = next;
    track.highWatermark = highWatermark;
    track.lastStableOffset = lastStableOffset;
    if (!moved && records.length === 0) return;
    this.#arrive(track, position, records);
  }

  #arrive(track: Track, from: number, records: readonly ConsumedRecord[]): void {
    const slice: Slice = {
      topic: track.topic,
      partition: track.partition,
      fromOffset: offset(from),
      records,
      nextOffset: offset(track.position),
      highWatermark: offset(track.highWatermark),
      lastStableOffset: offset(track.lastStableOffset),
    };
    this.#arrived.push({ track, from, slice });
  }

  async #outOfRange(track: Track): Promise<void> {
    try {
      const at = track.position;
      const [earliest, stable, end] = await Promise.all([
        this.#offsetAt(track, -2),
        this.#offsetAt(track, -1),
        this.#offsetAt(track, -1, false),
      ]);
      if (this.#tracks.get(key(track.topic, track.partition)) !== track || track.position !== at) return;
      track.position = at < earliest ? earliest : stable;
      track.highWatermark = end;
      track.lastStableOffset = stable;
      this.#arrive(track, at, []);
      this.#onOutOfRange?.({ topic: track.topic, partition: track.partition, offset: offset(at) }, offset(track.position));
    } catch (thrown) {
      this.#failed(track, thrown);
    }
  }

  #failedAll(tracks: readonly Track[], thrown: unknown): void {
    for (const track of tracks) this.#failed(track, thrown);
  }

  #failed(track: Track, thrown: unknown): void {
    if (this.#closed) return;
    const now = performance.now();
    track.failingSince ??= now;
    track.notBefore = now + backoffMs(track.attempts++);
    const doing = `read ${track.topic}-${track.partition}`;
    if (!isTransient(thrown)) this.#failure ??= kafkaError(thrown, doing);
    const limit = isUnknownTopic(thrown) ? Math.min(UNKNOWN_TOPIC_AFTER_MS, this.#unavailableAfterMs) : this.#unavailableAfterMs;
    if (now - track.failingSince < limit) return;
    track.failingSince = now;
    this.#failure ??= isUnknownTopic(thrown)
      ? new SpoolError('UNKNOWN_TOPIC', `${doing}: no such partition`, { cause: thrown })
      : new SpoolError('KAFKA_UNAVAILABLE', `${doing}: nothing came for ${limit} ms`, { cause: thrown });
  }

  #sleepUntilWoken(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake = done;
    });
  }
}

const key = (topic: string, partition: number): string => `${topic}\u0000${partition}`;
const isUnknownTopic = (thrown: unknown): boolean => thrown instanceof BrokerError && thrown.code === Code.UNKNOWN_TOPIC_OR_PARTITION;

function recovered(track: Track): void {
  track.failingSince = undefined;
  track.attempts = 0;
  track.notBefore = 0;
}
