import { SpoolError, toSpoolError } from '@spool/schemas';
import { toToken, type PositionToken, type Registry } from '@spool/sdk';
import { offset, partitionKey, splitPartitionKey, type Offset, type PartitionOffsets, type Reader } from '@spool/streams';
import { followAlone } from './follow-alone.js';
import { groupIndex } from './group-index.js';
import { Recent } from './recent.js';
import {
  countsOf,
  delivery,
  eventPartitions,
  mayHold,
  rootOf,
  seen,
  startsOf,
  type Delivery,
  type Listener,
  type Seen,
  type TailFilter,
  type TailRequest,
  type Tails,
  type TailsInstance,
  wantedBy,
} from './tail.js';

/** Each has a connection of its own to the brokers. */
const maxAlone = 200;
/** Topics of routed events that are not there yet are looked for so often. Milliseconds. */
const lookEveryMs = 2000;
/** How often those who follow are told how far it has come, when there was nothing for them. Milliseconds. */
const tellAfterMs = 2000;
/** So many are written to before others have their turn. */
const turn = 1000;

/** All who asked for the same. */
interface Group {
  readonly key: string;
  readonly filter: TailFilter;
  readonly wants: (record: Seen) => boolean;
  readonly holds: ReturnType<typeof mayHold>;
  readonly partitions: Set<string>;
  /** Those who are at the present, and get what comes. */
  readonly live: Set<Member>;
  members: number;
  told: PositionToken;
}
interface Member {
  readonly group: Group;
  readonly positions: Map<string, Offset>;
  readonly signal: AbortSignal;
  listener: Listener;
  /** Ends the tail, by an error or as it was wished. */
  end(error?: SpoolError): void;
  /** Takes one of the places of those who read the past. @throws SpoolError OVERLOADED */
  reserve(): void;
  release(): void;
}

/**
 * One reader for the present of all tails. A tail that begins in the past reads by itself (at most 200 do) until it comes to what the shared
 * reader has read lately; from there it goes on in memory, and then gets what the others get, without a gap and without a repetition.
 */
export function eventTails(instance: TailsInstance, registry: Pick<Registry, 'onChange'>): Tails {
  const { kafka, topics } = instance;
  const groups = new Map<string, Group>();
  const index = groupIndex<Group>();
  /** How many groups want each partition, and where the shared reader is. */
  const wanted = new Map<string, number>();
  /** A new object for each time that a partition is taken up. */
  const places = new Map<string, { at: Offset }>();
  const known = new Map<string, PartitionOffsets>();
  let recent = new Recent();
  let alone = 0;
  let running: { reader: Reader | undefined; stopped: boolean } | undefined;
  let round = signalled();

  // Who asks while the brokers are being asked waits for the next answer, with all others who do.
  let asked: Promise<readonly PartitionOffsets[]> | undefined;
  let asking: Promise<unknown> = Promise.resolve();
  const lookUp = (): Promise<readonly PartitionOffsets[]> => {
    if (asked !== undefined) return asked;
    const found = asking.then(() => {
      asked = undefined;
      return eventPartitions(instance);
    });
    asked = found;
    asking = found.catch(() => undefined);
    return found;
  };

  const want = (group: Group, key: string, at: Offset): void => {
    group.partitions.add(key);
    wanted.set(key, (wanted.get(key) ?? 0) + 1);
    if (places.has(key)) return;
    places.set(key, { at });
    recent.begin(key, at);
    running?.reader?.assign(splitPartitionKey(key), at);
  };
  /** A topic that is new has nothing that was missed. */
  const takeIn = (all: readonly PartitionOffsets[]): void => {
    const counts = countsOf(all);
    for (const at of all) {
      const key = partitionKey(at);
      if (known.has(key)) continue;
      known.set(key, at);
      for (const group of groups.values()) if (group.holds(at, counts.get(at.topic)!)) want(group, key, at.earliest);
    }
  };
  const groupOf = (request: TailRequest, all: readonly PartitionOffsets[]): Group => {
    const { types, aggregateTypes, aggregateId, correlationId, context, routed } = request;
    const filter = { types: sorted(types), aggregateTypes: sorted(aggregateTypes), aggregateId, correlationId, context, routed };
    const key = JSON.stringify(Object.values(filter).map((each) => each ?? null));
    const old = groups.get(key);
    if (old !== undefined) return old;
    const holds = mayHold(filter, topics);
    const group: Group = { key, filter, wants: wantedBy(filter), holds, partitions: new Set(), live: new Set(), members: 0, told: '' };
    const counts = countsOf(all);
    for (const at of all) if (holds(at, counts.get(at.topic)!)) want(group, partitionKey(at), at.latest);
    groups.set(key, group);
    index.add(group);
    return group;
  };
  const leave = (group: Group): void => {
    group.members -= 1;
    if (group.members > 0) return;
    groups.delete(group.key);
    index.remove(group);
    for (const key of group.partitions) {
      const left = wanted.get(key)! - 1;
      wanted.set(key, left);
      if (left > 0) continue;
      wanted.delete(key);
      places.delete(key);
      recent.end(key);
      running?.reader?.unassign(splitPartitionKey(key));
    }
    if (groups.size === 0) stop();
  };
  const stop = (): void => {
    if (running === undefined) return;
    running.stopped = true;
    void running.reader?.close();
    running = undefined;
    recent = new Recent();
    known.clear();
  };

  const tokenOf = (group: Group): PositionToken => toToken(new Map([...group.partitions].map((key) => [key, places.get(key)!.at])));
  const give = async (all: readonly (readonly [Delivery, readonly Member[]])[]): Promise<void> => {
    let given = 0;
    for (const [item, members] of all) {
      for (const member of members) {
        if (member.group.live.has(member) && !member.listener.deliver(item)) member.end();
        given += 1;
        if (given % turn === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    }
  };
  const publish = async (record: Seen, place: { at: Offset }): Promise<void> => {
    const shown = index.find(record).length === 0 ? undefined : await record.read();
    // From here to `give` nothing is waited for: whoever joins later finds the record among the recent ones.
    const groups = shown === undefined ? [] : index.find(record).filter((group) => group.partitions.has(record.partition));
    if (places.get(record.partition) !== place) return;
    place.at = offset(record.offset + 1n);
    recent.add(record);
    await give(
      groups.map((group) => {
        group.told = tokenOf(group);
        return [delivery(group.told, shown), [...group.live]] as const;
      }),
    );
  };
  const read = async (run: NonNullable<typeof running>): Promise<void> => {
    let changed = true;
    const forget = registry.onChange(() => (changed = true));
    try {
      const reader = (run.reader = await kafka.reader());
      for (const [key, { at }] of places) reader.assign(splitPartitionKey(key), at);
      let told = instance.now();
      let looked = instance.now();
      while (!run.stopped) {
        // The registry knows of new aggregates, and nobody of new roots of routed events.
        if (changed || (instance.now() - looked >= lookEveryMs && [...groups.values()].some(awaitsTopic))) {
          changed = false;
          looked = instance.now();
          takeIn(await lookUp());
        }
        for (const slice of await reader.fetch()) {
          const place = places.get(partitionKey(slice));
          // Of a partition that was let go, and perhaps taken up again.
          if (place?.at !== slice.fromOffset) continue;
          for (const record of slice.records) await publish(seen(record, instance), place);
          place.at = slice.nextOffset;
        }
        if (instance.now() - told >= tellAfterMs) {
          told = instance.now();
          const late = [...groups.values()].filter((group) => group.live.size > 0 && group.told !== tokenOf(group));
          await give(late.map((group) => [delivery((group.told = tokenOf(group))), [...group.live]]));
        }
        round.resolve();
        round = signalled();
      }
    } catch (thrown) {
      if (run.stopped) return;
      const error = toSpoolError(thrown);
      instance.log('warn', 'the shared reader of events ends, and all tails with it', { error: error.message });
      for (const end of ends) end(error);
    } finally {
      forget();
      await run.reader?.close();
      round.resolve();
      round = signalled();
    }
  };
  const ends = new Set<(error?: SpoolError) => void>();

  const pursue = async (member: Member): Promise<void> => {
    const { group, positions: own, signal, listener } = member;
    if (!listener.deliver(delivery(toToken(own)))) throw new Gone();
    for (let next = 0; !signal.aborted;) {
      for (const key of group.partitions) if (!own.has(key)) own.set(key, known.get(key)!.earliest);
      // 1. The past, alone.
      if (!recent.covers(own)) {
        member.reserve();
        const { wants } = group;
        const more = await followAlone({ instance, wants, own, listener, signal, until: () => recent.covers(own) });
        if (!more) throw new Gone();
        continue;
      }
      member.release();
      // 2. What was read last.
      next = Math.max(next, recent.first);
      const record = recent.at(next);
      if (record !== undefined) {
        next += 1;
        if (record.offset < (own.get(record.partition) ?? record.offset + 1n)) continue;
        const shown = group.wants(record) ? await record.read() : undefined;
        own.set(record.partition, offset(record.offset + 1n));
        if (shown === undefined) continue;
        if (!listener.deliver(delivery(toToken(own), shown))) throw new Gone();
        await listener.ready();
        continue;
      }
      // 3. The present, once it is where this tail is. Nothing was waited for since the last record was looked for.
      if ([...own].every(([key, at]) => (places.get(key)?.at ?? at) >= at)) {
        group.live.add(member);
        return;
      }
      await round.promise;
    }
  };

  return {
    async open(request) {
      const { signal } = request;
      const all = await lookUp();
      const own = await startsOf(instance, request, all);
      if (signal.aborted) throw new SpoolError('UNAVAILABLE', 'the tail was ended before it began');
      takeIn(all);
      const group = groupOf(request, all);
      let reading = false;
      const reserve = (): void => {
        if (reading) return;
        if (alone >= maxAlone) throw new SpoolError('OVERLOADED', `${maxAlone} tails read the past already`, { retryAfterMs: 5000 });
        reading = true;
        alone += 1;
      };
      const release = (): void => {
        if (reading) alone -= 1;
        reading = false;
      };
      group.members += 1;
      const stopping = new AbortController();
      const ended = signalled();
      // An error that nobody waits for yet is told to whoever follows.
      ended.promise.catch(() => undefined);
      const end = (error?: SpoolError): void => {
        if (stopping.signal.aborted) return;
        stopping.abort();
        signal.removeEventListener('abort', endQuietly);
        ends.delete(end);
        release();
        group.live.delete(member);
        leave(group);
        if (error === undefined) ended.resolve();
        else ended.reject(error);
      };
      const endQuietly = (): void => {
        end();
      };
      const member: Member = { group, positions: own, signal: stopping.signal, listener: nobody, end, reserve, release };
      ends.add(end);
      try {
        if (!recent.covers(own)) reserve();
      } catch (thrown) {
        end();
        throw thrown;
      }
      signal.addEventListener('abort', endQuietly, { once: true });
      if (running === undefined) {
        running = { reader: undefined, stopped: false };
        void read(running);
      }
      return {
        position: toToken(own),
        follow(listener) {
          member.listener = listener;
          pursue(member).catch((thrown: unknown) => {
            end(thrown instanceof Gone ? undefined : toSpoolError(thrown));
          });
          return ended.promise;
        },
      };
    },
  };
}

function signalled() {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** The listener takes no more. */
class Gone extends Error {}
const nobody: Listener = { deliver: () => false, ready: () => undefined };
const sorted = (names: readonly string[] | undefined): readonly string[] | undefined =>
  names === undefined ? undefined : [...new Set(names)].sort();

/** Whether topics may come that it wants: of one root there is one. */
const awaitsTopic = ({ filter: { routed }, partitions }: Group): boolean =>
  routed !== undefined && (rootOf(routed) === undefined || partitions.size === 0);
