import { setTimeout as sleep } from 'node:timers/promises';
import { backOffMs, partitionKey, stage, type Kafka, type Log, type Offset, type Reader, type Store, type Table } from '@spool/streams';
import { within, type FanOut } from '../routed/fan-out.js';
import { nothingHad, toArrival, type Arrival, type Had, type Taken } from './arrival.js';

export interface InboxOptions {
  readonly kafka: Kafka;
  readonly topic: string;
  /** Tells this run of the node from those before it. */
  readonly run: string;
  readonly store: Store;
  readonly fanOut: FanOut;
  readonly log: Log;
}

/** What one node has got from one sender. */
export interface Received {
  readonly sender: string;
  readonly durable: number;
  readonly transient: number;
  /** Transient events that never came, or were for a run before this one. */
  readonly missing: number;
}

/** What comes to one node: its topic, and what others hand to it directly. One after the other. */
export interface Inbox {
  /** Rows of the subscribers: what is put there while an event is handled is kept with its place, and so counts once. */
  readonly rows: Table<unknown>;
  received(): readonly Received[];
  /** Reads from where it stands. */
  begin(): Promise<void>;
  /** Takes nothing more, when what it has handed out is handled or has taken too long; until it begins again. */
  pause(): Promise<void>;
  /** Takes what comes next after what it has had, and tells how much that was. */
  take(sender: string, arrivals: readonly Arrival[]): Promise<Taken>;
  close(): Promise<void>;
}

interface SenderRow {
  readonly run: string;
  /** Runs before this one: what still comes of them is late. */
  readonly former: readonly string[];
  readonly had: Had;
  /** Over all runs. */
  readonly durable: number;
  readonly transient: number;
  readonly missing: number;
}
const sendersTable = 'senders';
const rowsTable = 'rows';
const maxFormer = 64;
/** How long subscribers may work at what they were handed, when the last of them goes. Milliseconds. */
export const drainMs = 10_000;

/**
 * A new run of a sender is believed by the log alone, where it stands behind all that the run before it has written. Directly only what comes next is
 * taken; so whatever way each event goes, none overtakes another, and none comes twice.
 */
export function openInbox({ kafka, topic, run, store, fanOut, log }: InboxOptions): Inbox {
  const staged = stage(store);
  const senders = staged.table<SenderRow>(sendersTable);
  const at = { topic, partition: 0 };
  let position = store.checkpoint.positions.get(partitionKey(at));
  let turn: Promise<unknown> = Promise.resolve();
  /** Of the group in hand: whether each was handled. */
  const handing: Promise<boolean>[] = [];
  let paused = true;
  let reader: Reader | undefined;
  let reading: Promise<void> | undefined;
  const stop = new AbortController();
  const stopped = (): boolean => stop.signal.aborted;

  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = turn.then(work);
    turn = done.catch(() => undefined);
    return done;
  };
  /**
   * Resolves when all that was handed out is handled: from then on it does not come again.
   * @returns false: a subscriber went before it had handled all; then all of it comes again
   */
  const commit = async (next: Offset | undefined): Promise<boolean> => {
    const handled = (await Promise.all(handing.splice(0))).every((each) => each);
    if (!handled) {
      staged.discard();
      return false;
    }
    position = next;
    const { checkpoint } = store;
    const positions = position === undefined ? checkpoint.positions : new Map([[partitionKey(at), position]]);
    staged.commit({ ...checkpoint, positions });
    return true;
  };
  const rowOf = (arrival: Arrival): SenderRow | undefined => {
    const before = senders.get(arrival.sender);
    if (before?.run === arrival.run) return before;
    if (before?.former.includes(arrival.run) === true) return undefined;
    const { durable = 0, transient = 0, missing = 0 } = before ?? {};
    const former = before === undefined ? [] : [...before.former, before.run].slice(-maxFormer);
    return { run: arrival.run, former, had: nothingHad, durable, transient, missing };
  };
  const handOut = async (row: SenderRow, { sender, event, number, to }: Arrival): Promise<void> => {
    const { had } = row;
    if (event.delivery === 'durable') {
      if (number <= had.durable) return;
      senders.put(sender, { ...row, durable: row.durable + 1, had: { ...had, durable: number } });
    } else {
      const wanted = to === undefined || to === run;
      const skipped = Math.max(0, number - had.transient - 1);
      // One that was overtaken has been counted as missing.
      const missing = row.missing + (number > had.transient ? skipped + (wanted ? 0 : 1) : wanted ? -1 : 0);
      const counted = wanted ? 1 : 0;
      const next = { ...had, transient: Math.max(had.transient, number), transients: had.transients + counted };
      senders.put(sender, { ...row, transient: row.transient + counted, missing, had: next });
      if (!wanted) return;
    }
    let ended!: (handled: boolean) => void;
    handing.push(new Promise((resolve) => (ended = resolve)));
    await fanOut.publish(event, ended);
  };

  const read = async (from: Reader): Promise<void> => {
    for (let failures = 0; !stopped();) {
      try {
        for (const slice of await from.fetch()) {
          if (slice.nextOffset === position) continue;
          await inTurn(async () => {
            // What is passed over now is read again when it goes on.
            if (paused) return;
            if (position !== undefined && slice.fromOffset > position) {
              from.assign(at, position);
              return;
            }
            for (const record of slice.records) {
              if (position !== undefined && record.offset < position) continue;
              const arrival = toArrival(record);
              const row = arrival === undefined ? undefined : rowOf(arrival);
              if (arrival === undefined) log('warn', 'what is no event was passed over', { topic, offset: String(record.offset) });
              else if (row !== undefined) await handOut(row, arrival);
            }
            if (!(await commit(slice.nextOffset))) from.assign(at, position ?? 'earliest');
          });
        }
        failures = 0;
      } catch (error) {
        if (stopped()) return;
        staged.discard();
        handing.length = 0;
        log('warn', 'the events of this node cannot be read', { topic, error: String(error) });
        from.assign(at, position ?? 'earliest');
        await sleep(backOffMs(failures++));
      }
    }
  };
  return {
    rows: staged.table(rowsTable),
    received: () =>
      [...senders.range()].map(([sender, { durable, transient, missing }]) => ({ ...{ sender, durable, transient, missing } })),
    async begin() {
      if (!paused) return;
      paused = false;
      if (reader !== undefined) {
        reader.assign(at, position ?? 'earliest');
        reader.resume(at);
        return;
      }
      reader = await kafka.reader({ onOutOfRange: (_, movedTo: Offset) => (position = movedTo) });
      reader.assign(at, position ?? 'earliest');
      reading = read(reader);
    },
    async pause() {
      paused = true;
      reader?.pause(at);
      await within(drainMs, turn);
    },
    take: (sender, arrivals) =>
      inTurn(async () => {
        let taken = 0;
        for (const arrival of arrivals) {
          const row = senders.get(sender);
          if (stopped() || paused || row?.run !== arrival.run) break;
          if (arrival.event.delivery === 'durable' && arrival.number > row.had.durable + 1) break;
          await handOut(row, arrival);
          taken += 1;
        }
        if (taken > 0 && !(await commit(position))) taken = 0;
        const row = senders.get(sender);
        return { taken, had: row !== undefined && row.run === arrivals[0]?.run ? row.had : nothingHad };
      }),
    async close() {
      if (stopped()) return;
      stop.abort();
      await within(drainMs, turn);
      await reader?.close();
      await within(drainMs, reading);
    },
  };
}
