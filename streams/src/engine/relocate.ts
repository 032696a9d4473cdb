import { offset, type Offset, type RecordPosition, type TopicPartition } from '../kafka/port.js';
import { splitPartitionKey } from '../store/store.js';
import { parkedSpec, parkedTable, type Parked } from './parking.js';
import { checkpointPrefix } from './restore.js';
import { rowId } from './stores.js';

/** Where an offset of a log lies in a copy of it: at the first record there that is not before it. Undefined: the copy has not got the topic. */
export type Relocate = (at: RecordPosition) => Offset | undefined;

/** What the engine keeps under a key of a changelog; undefined for all that it does not know. */
export function engineKey(key: string): 'checkpoint' | 'claim' | 'parked' | undefined {
  if (key.startsWith(rowId(parkedTable, ''))) return 'parked';
  if (!key.startsWith(checkpointPrefix)) return undefined;
  return key.includes('/', checkpointPrefix.length) ? 'claim' : 'checkpoint';
}

/** The row of a changelog that says which records of a key are parked, for a copy of the log. */
export function relocatedParked(value: Buffer, relocate: Relocate): Buffer {
  const { count, upTo } = parkedSpec.decode(value) as Parked;
  const moved = Object.entries(upTo).flatMap(([source, last]) => {
    const next = relocate({ ...splitPartitionKey(source), offset: offset(BigInt(last) + 1n) });
    return next === undefined ? [] : [[source, (next - 1n).toString()] as const];
  });
  return parkedSpec.encode({ count, upTo: Object.fromEntries(moved) } satisfies Parked);
}

/** The headers of a dead letter, or of the marker that settles one, for a copy of the log: they name records by their offsets. */
export function relocatedLetter(
  at: TopicPartition,
  headers: Readonly<Record<string, Buffer>>,
  relocate: Relocate,
): Readonly<Record<string, Buffer>> {
  const { 'dlq-topic': topic, 'dlq-partition': partition, 'dlq-offset': old, 'dlq-letter': letter } = headers;
  const to = (from: TopicPartition, place: string): Offset => relocate({ ...from, offset: offset(place) }) ?? offset(place);
  const moved: Record<string, Buffer> = { ...headers };
  if (topic !== undefined && partition !== undefined && old !== undefined) {
    const from = { topic: topic.toString(), partition: Number(partition.toString()) };
    moved['dlq-offset'] = Buffer.from(to(from, old.toString()).toString());
  }
  const [, name, place] = /^(.*)@(\d+)$/.exec(letter?.toString() ?? '') ?? [];
  if (name !== undefined && place !== undefined) {
    // A timer is named by its own letter.
    moved['dlq-letter'] = Buffer.from(`${name}@${to(name === 'timer' ? at : splitPartitionKey(name), place)}`);
  }
  return moved;
}
