import { SpoolError } from '@spool/schemas';
import { offset, type ConsumedRecord, type Kafka, type Offset, type ProducerRecord, type TopicPartition } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';
import type { LetterChoice } from './control.js';
import { laneOf } from './parking.js';
import { readToEnd } from './restore.js';
import type { Timer } from './timers.js';

/**
 * Parked records as the dead-letter topic has them: the topic itself says what is parked. A letter is resolved by a marker in the same partition,
 * with the same key, no value, and headers that name the letter.
 */
export interface LetterEntry {
  /** Its first place in the dead-letter topic. */
  readonly offset: Offset;
  /** Its last: a crash may park a record twice, which is one letter. */
  readonly last: Offset;
  readonly lane: string;
  /** Where the record came from; undefined for a timer. */
  readonly source: (TopicPartition & { readonly offset: Offset }) | undefined;
  readonly owner: string | undefined;
  /** How it was resolved; undefined while it is not. */
  readonly resolution: string | undefined;
}

export interface Letter extends LetterEntry {
  /** As it came; undefined for a timer. Its header `dlq-letter` says that it is being handled again. */
  readonly record: ConsumedRecord | undefined;
  readonly timer: Timer | undefined;
  /** As it stands in the dead-letter topic. */
  readonly raw: ConsumedRecord;
}

export interface LetterQuery {
  readonly kafka: Kafka;
  /** Of the dead-letter topic. */
  readonly partition: TopicPartition;
  /** Letters of this owner alone; `'any'` for all. @default those without an owner */
  readonly owner?: string | undefined;
  /** Resolved ones too. @default false */
  readonly resolved?: boolean;
  readonly signal?: AbortSignal;
}

/** Every letter of a partition, in order. Reads the whole partition, and keeps a short entry for each letter. */
export async function indexLetters({ kafka, partition, owner, resolved = false, signal }: LetterQuery): Promise<readonly LetterEntry[]> {
  const open = new Map<string, LetterEntry>();
  const closed: LetterEntry[] = [];
  const close = (id: string, entry: LetterEntry, resolution: string): void => {
    open.delete(id);
    if (resolved) closed.push({ ...entry, resolution });
  };
  const take = (record: ConsumedRecord): void => {
    const whose = text(record, 'dlq-owner');
    if (owner !== 'any' && whose !== owner) return;
    const resolution = text(record, 'dlq-resolution');
    if (resolution === 'rebuilt') {
      for (const [id, entry] of open) if (entry.owner === whose) close(id, entry, resolution);
      return;
    }
    if (resolution !== undefined) {
      const id = `${whose ?? ''}|${text(record, 'dlq-letter') ?? ''}`;
      const entry = open.get(id);
      if (entry !== undefined) close(id, entry, resolution);
      return;
    }
    const source = sourceOf(record);
    const id = `${whose ?? ''}|${nameOf(source, record.offset)}`;
    const known = open.get(id);
    if (known !== undefined) open.set(id, { ...known, last: record.offset });
    else open.set(id, { offset: record.offset, last: record.offset, lane: laneOfLetter(record, source), source, owner: whose, resolution });
  };
  await readToEnd({
    kafka,
    partition,
    from: 'earliest',
    ...(signal === undefined ? {} : { signal }),
    apply: (records) => {
      for (const record of records) take(record);
      return Promise.resolve();
    },
  });
  return [...closed, ...open.values()].sort((a, b) => Number(a.offset - b.offset));
}

/** The letters of these entries, whole; entries in order. */
export async function readLetters(
  kafka: Kafka,
  partition: TopicPartition,
  entries: readonly LetterEntry[],
  signal?: AbortSignal,
): Promise<readonly Letter[]> {
  const [first] = entries;
  if (first === undefined) return [];
  const wanted = new Map(entries.map((entry) => [entry.offset, entry]));
  const letters: Letter[] = [];
  const reader = await kafka.reader();
  try {
    reader.assign(partition, first.offset);
    while (wanted.size > 0) {
      signal?.throwIfAborted();
      for (const slice of await reader.fetch()) {
        for (const record of slice.records) {
          const entry = wanted.get(record.offset);
          if (entry !== undefined) letters.push(letterOf(entry, record));
          wanted.delete(record.offset);
        }
        // What is gone by retention is gone.
        for (const at of wanted.keys()) if (at < slice.nextOffset) wanted.delete(at);
      }
    }
  } finally {
    await reader.close();
  }
  return letters;
}

/** Says that a letter needs no more attention. */
export function resolutionOf(topic: string, letter: Letter, resolution: 'retried' | 'discarded', now: number): ProducerRecord {
  const { source, owner, raw } = letter;
  return {
    topic,
    partition: raw.partition,
    key: raw.key,
    value: null,
    headers: {
      'dlq-resolution': resolution,
      'dlq-letter': nameOf(source, letter.offset),
      ...(owner === undefined ? {} : { 'dlq-owner': owner }),
      ...(source === undefined
        ? {}
        : { 'dlq-topic': source.topic, 'dlq-partition': String(source.partition), 'dlq-offset': source.offset.toString() }),
      'dlq-at': new Date(now).toISOString(),
    },
  };
}

/** Says that all letters of an owner up to here are void: its store is built anew, and parks anew what still fails. */
export const rebuiltMarker = (topic: string, partition: number, owner: string | undefined, now: number): ProducerRecord => ({
  topic,
  partition,
  key: null,
  value: null,
  headers: { 'dlq-resolution': 'rebuilt', ...(owner === undefined ? {} : { 'dlq-owner': owner }), 'dlq-at': new Date(now).toISOString() },
});

/** What an order means. @throws SpoolError ORDER_REFUSED for a retry out of order */
export function chosen(
  entries: readonly LetterEntry[],
  deadLetters: TopicPartition,
  choice: LetterChoice,
  action: 'retry' | 'discard',
): readonly LetterEntry[] {
  if (choice === 'all') return entries;
  if ('key' in choice) {
    const lane = `k${choice.key.toString('latin1')}`;
    return entries.filter((entry) => entry.lane === lane);
  }
  const { letter } = choice;
  const found = entries.find(({ source, offset: at }) => {
    const named = source ?? { ...deadLetters, offset: at };
    return named.topic === letter.topic && named.partition === letter.partition && named.offset === letter.offset;
  });
  if (found === undefined) return [];
  if (action === 'retry' && entries.some(({ lane, offset: at }) => lane === found.lane && at < found.offset)) {
    throw new SpoolError(
      'ORDER_REFUSED',
      `an earlier record of its key is parked before ${partitionKey(letter)}@${letter.offset}: retry the key`,
    );
  }
  return [found];
}

const text = (record: ConsumedRecord, header: string): string | undefined => record.headers[header]?.toString();
const nameOf = (source: LetterEntry['source'], at: Offset): string =>
  source === undefined ? `timer@${at}` : `${partitionKey(source)}@${source.offset}`;

function sourceOf(record: ConsumedRecord): LetterEntry['source'] {
  const [topic, partition, at] = [text(record, 'dlq-topic'), text(record, 'dlq-partition'), text(record, 'dlq-offset')];
  return topic === undefined || partition === undefined || at === undefined
    ? undefined
    : { topic, partition: Number(partition), offset: offset(at) };
}

/** A timer waits for nobody. */
const laneOfLetter = (record: ConsumedRecord, source: LetterEntry['source']): string =>
  source === undefined ? `t@${record.offset}` : laneOf({ ...record, ...source });

function letterOf(entry: LetterEntry, raw: ConsumedRecord): Letter {
  const { source } = entry;
  if (source === undefined) {
    const timer: Timer = {
      name: text(raw, 'dlq-timer') ?? '',
      key: raw.key?.toString() ?? '',
      clock: text(raw, 'dlq-timer-clock') === 'stream' ? 'stream' : 'wall',
      at: Date.parse(text(raw, 'dlq-timer-at') ?? '') || raw.timestamp,
    };
    return { ...entry, record: undefined, timer, raw };
  }
  const headers = Object.fromEntries(Object.entries(raw.headers).filter(([name]) => !name.startsWith('dlq-')));
  const timestamp = Number(text(raw, 'dlq-timestamp') ?? raw.timestamp);
  const record = {
    ...source,
    key: raw.key,
    value: raw.value,
    timestamp,
    headers: { ...headers, 'dlq-letter': Buffer.from(String(raw.offset)) },
  };
  return { ...entry, record, timer: undefined, raw };
}
