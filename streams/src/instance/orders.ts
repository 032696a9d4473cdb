import { ControlOrderSchema, type Codec, type ControlOrder as StoredOrder, type TopicOffset } from '@spool/schemas';
import type { ControlOrder, LetterChoice } from '../engine/control.js';
import type { ReplayFilter } from '../store/stored-filter.js';
import { offset, type ConsumedRecord, type Offset } from '../kafka/port.js';
import { partitionKey } from '../store/store.js';

/** From the contract on the `control` topic to the engine's order. An action that this version does not know is passed over. */
export function orderDecoder(codec: Codec): (record: ConsumedRecord) => Promise<ControlOrder | undefined> {
  const decoder = codec.decoder(ControlOrderSchema);
  return async (record) => {
    if (record.value === null) return undefined;
    return toOrder(await decoder.decode(record.value), record.offset);
  };
}

function toOrder(order: StoredOrder, epoch: Offset): ControlOrder | undefined {
  const base = { consumer: order.consumer, epoch };
  const { action, replayId } = order;
  if (action === 'pause' || action === 'resume' || action === 'drain') return { ...base, action };
  if (action === 'step') return { ...base, action, records: order.records ?? 1 };
  if (action === 'rate') return { ...base, action, recordsPerSecond: order.recordsPerSecond ?? undefined };
  if (action === 'cancel' && replayId !== null) return { ...base, action, replayId };
  if (action === 'rewind' && replayId !== null) {
    const { positions, targets, resetState: reset } = order;
    return { ...base, action, replayId, starts: offsets(positions), targets: offsets(targets), reset, filter: filterOf(order) };
  }
  if (action === 'seek' || action === 'reset') {
    return { ...base, action: 'seek', starts: offsets(order.positions), reset: action === 'reset' };
  }
  if (action === 'retry') return { ...base, action, letters: letters(order), value: order.value ?? undefined };
  if (action === 'discard') return { ...base, action, letters: letters(order) };
  return undefined;
}

function filterOf({ filter }: StoredOrder): ReplayFilter | undefined {
  if (filter === null) return undefined;
  return { ...filter, ends: Object.fromEntries(filter.ends.map((at) => [partitionKey(at), String(at.offset)])) };
}

function letters({ key, letter }: StoredOrder): LetterChoice {
  if (letter !== null) return { letter: { ...letter, offset: offset(letter.offset) } };
  return key === null ? 'all' : { key };
}

const offsets = (positions: readonly TopicOffset[]): Map<string, Offset> =>
  new Map(positions.map((at) => [partitionKey(at), offset(at.offset)]));
