import { CommandOutcomesSchema, type Codec, type CommandOutcome } from '@spool/schemas';
import type { ConsumedRecord, Store, Table, TopicPartition, TaskContext } from '@spool/streams';

/** The rows of a host's store that hold outcomes, and their keys on the changelog. */
const outcomeTable = 'outcomes';
/** `<millisecond>/<key on the topic>` -> a group's outcomes, in the order in which they expire. */
const expiryTable = 'expiry';
interface ExpiryRow {
  /** Key of the record on the topic. */
  readonly record: string;
  /** Ids of its commands. */
  readonly ids: readonly string[];
}
/** Keys of the changelog that are of outcomes. */
export const outcomePrefix = 'o/';
const expiryKey = (at: number, record: string): string => `${String(at).padStart(15, '0')}/${record}`;

/** The outcomes of commands, kept for their repetitions: a row each in the store, a record for each group on the changelog. */
export interface Outcomes {
  get(commandId: string, context: TaskContext): CommandOutcome | undefined;
  /** As the last commit has it. */
  stored(commandId: string): CommandOutcome | undefined;
  put(outcome: CommandOutcome, context: TaskContext): void;
  /** Last in the group. @param sequence tells this group's records from all others of the partition */
  emit(sequence: string, context: TaskContext): void;
}

export interface OutcomesOptions {
  readonly codec: Codec;
  readonly changelog: TopicPartition;
  readonly store: Store;
  readonly now: () => number;
  readonly retentionMs: number;
}

/**
 * Tells a group by its last record: by its place, or as the letter that it was, which is handled with the offset that it had, in a group of another time.
 * @param place the same for no other record of the partition. @default its offset
 */
export function sequenceOf({ headers, offset }: ConsumedRecord, place = offset.toString()): string {
  const letter = headers['dlq-letter'];
  return letter === undefined ? place : `d${letter.toString()}`;
}

/** In one record; it stays far below what Kafka takes. */
const perRecord = 500;
/** Forgotten with one group, so that a long pause never makes a transaction large. */
const forgottenPerGroup = 5000;

export async function trackOutcomes({ codec, changelog, store, now, retentionMs }: OutcomesOptions): Promise<Outcomes> {
  const encoder = await codec.encoder(changelog.topic, CommandOutcomesSchema);
  // By transaction: what a group that is given up has decided goes with it.
  const decided = new WeakMap<TaskContext, CommandOutcome[]>();
  return {
    get: (commandId, context) => context.table<CommandOutcome>(outcomeTable).get(commandId),
    stored: (commandId) => store.get(outcomeTable, commandId) as CommandOutcome | undefined,
    put(outcome, context) {
      context.table<CommandOutcome>(outcomeTable).put(outcome.commandId, outcome);
      const group = decided.get(context);
      if (group === undefined) decided.set(context, [outcome]);
      else group.push(outcome);
    },
    emit(sequence, context) {
      const at = now();
      const rows = context.table<CommandOutcome>(outcomeTable);
      const expiries = context.table<ExpiryRow>(expiryTable);
      let forgotten = 0;
      for (const [key, value] of store.range(expiryTable, { to: expiryKey(at - retentionMs, '') })) {
        const { record, ids } = value as ExpiryRow;
        context.emit({ ...changelog, key: record, value: null });
        for (const id of ids) rows.delete(id);
        expiries.delete(key);
        if ((forgotten += ids.length) >= forgottenPerGroup) break;
      }
      const group = decided.get(context) ?? [];
      for (let from = 0; from < group.length; from += perRecord) {
        const outcomes = group.slice(from, from + perRecord);
        const record = `${outcomePrefix}${sequence}/${from}`;
        context.emit({ ...changelog, key: record, value: encoder.encode({ outcomes }) });
        expiries.put(expiryKey(at, record), { record, ids: outcomes.map(({ commandId }) => commandId) });
      }
    },
  };
}

/** Takes the outcomes of a group into the store while it is restored, or forgets them. */
export function outcomesReader(codec: Codec) {
  const decoder = codec.decoder(CommandOutcomesSchema);
  return async (record: ConsumedRecord, key: string, table: <V>(name: string) => Table<V>): Promise<void> => {
    const rows = table<CommandOutcome>(outcomeTable);
    const expiries = table<ExpiryRow>(expiryTable);
    if (record.value === null) {
      for (const [expiry, row] of expiries.range()) {
        if (row.record !== key) continue;
        for (const id of row.ids) rows.delete(id);
        expiries.delete(expiry);
        return;
      }
      return;
    }
    const { outcomes } = await decoder.decode(record.value);
    for (const outcome of outcomes) rows.put(outcome.commandId, outcome);
    const [first] = outcomes;
    if (first !== undefined) expiries.put(expiryKey(first.at, key), { record: key, ids: outcomes.map(({ commandId }) => commandId) });
  };
}
