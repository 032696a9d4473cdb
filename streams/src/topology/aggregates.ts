import { timerName, type Change, type Moment, type Node, type Scope } from './graph.js';
import { rowKeys, storedBytes, storedTimestamp, toStored, windowRowKeys, type RowKeys } from './rows.js';
import { decodeNow, type AnySerde } from './serde.js';
import { needed, type StreamState, type TableState } from './state.js';
import { openRows, storedState } from './table-nodes.js';
import type { StoreOptions, WindowOptions } from './verbs.js';
import { firstStart, splitTime, timeText, type TimeWindows, type Windowed } from './windows.js';

type Fold = (aggregate: unknown, value: unknown, key: unknown) => unknown;
export interface AnyAggregation {
  readonly kind: string;
  readonly initial: (key: unknown) => unknown;
  readonly add: Fold;
  /** For the rows of a table, which arrive as changes. */
  readonly subtract?: Fold;
  readonly value: AnySerde;
}

/** The later of the two: a result is as new as the newest of what went into it. */
const latest = (at: Moment, before: Buffer | undefined): Moment => {
  const known = before === undefined ? at.timestamp : storedTimestamp(before);
  return known > at.timestamp ? { timestamp: known, headers: at.headers } : at;
};

/** Folds records, or changes of rows, of equal keys into a row each. The stream is settled. */
export function aggregate(
  from: StreamState,
  name: string,
  { kind, initial, add, subtract, value }: AnyAggregation,
  { ttlMs }: StoreOptions = {},
): TableState {
  const { graph } = from;
  const key = needed(from, 'key', name);
  const store = graph.addStore(name, ttlMs);
  const fold: Fold =
    subtract === undefined
      ? (aggregated, of, by) => add(aggregated === undefined ? initial(by) : aggregated, of, by)
      : (aggregated, change, by) => {
          const { next, old } = change as Change;
          const was = old();
          // What was never added cannot be taken back: the row has expired, or an aggregate of undefined has deleted it.
          const without = was === undefined || aggregated === undefined ? aggregated : subtract(aggregated, was, by);
          return next === undefined ? without : add(without === undefined ? initial(by) : without, next, by);
        };
  const node = graph.add({
    kind,
    name,
    parents: [from.node],
    stores: [store],
    keyed: true,
    async open(scope, out, self) {
      const { keys, serde, rows, valueOf } = await openRows(scope, self, store, key, value, out);
      return [
        (by, of, at) => {
          if (by === null || of === null) return scope.skip();
          const table = rows();
          const row = keys.toRow(by);
          const before = table.get(row);
          const next = fold(valueOf(before), of, by);
          if (next === undefined && before === undefined) return;
          const moment = latest(at, before);
          if (next === undefined) table.delete(row);
          else table.put(row, toStored(moment.timestamp, serde.encode(next)));
          out(by, { next, old: () => valueOf(before) } satisfies Change, moment);
        },
      ];
    },
  });
  return { graph, node, key, value, stored: storedState(store, key, value) };
}

/** As `aggregate`, for each window that covers a record's time. */
export function aggregateWindows(
  from: StreamState,
  name: string,
  { kind, initial, add, value }: AnyAggregation,
  windows: TimeWindows,
  { emit = 'updates', keepMs = 0 }: WindowOptions,
): TableState {
  const { graph } = from;
  const { sizeMs, advanceMs, graceMs } = windows;
  const key = needed(from, 'key', name);
  const store = graph.addStore(name);
  const final = emit === 'final';
  const node = graph.add({
    kind: final ? `${kind}-final` : kind,
    name,
    parents: [from.node],
    stores: [store],
    keyed: true,
    async open(scope, out, self) {
      const keys = rowKeys(await scope.open(key));
      const serde = await scope.open(value);
      const rows = scope.rows(store);
      const valueOf = (row: Buffer | undefined): unknown => (row === undefined ? undefined : decodeNow(serde, storedBytes(row)));
      const windowKeys = windowRowKeys(keys, sizeMs);
      scope.addLookup(self, (of) => {
        const row = rows().get(windowKeys.toRow(of as Windowed<unknown>));
        return row === undefined ? undefined : { value: valueOf(row), timestamp: storedTimestamp(row) };
      });
      const close = timerName(self, 'close');
      const dropLater = dropsByTime(scope, self, [rows], (start) => start + sizeMs + graceMs + keepMs, advanceMs);
      const closed = (row: string): void => {
        const stored = rows().get(row);
        if (stored === undefined) return;
        const of = windowKeys.fromRow(row);
        out(of, { next: valueOf(stored), old: () => undefined } satisfies Change, { timestamp: storedTimestamp(stored), headers: {} });
      };
      scope.onTimer(self, ({ name: due, key: row }) => (due === close ? closed(row) : dropLater.drop(row)));
      return [
        (by, of, at) => {
          if (by === null || of === null || at.timestamp < 0) return scope.skip();
          const table = rows();
          const suffix = keys.toRow(by);
          let late = false;
          for (let start = firstStart(at.timestamp, windows); start <= at.timestamp; start += advanceMs) {
            const closes = start + sizeMs + graceMs;
            if (closes <= scope.context.streamTime) {
              late = true;
              continue;
            }
            const row = timeText(start) + suffix;
            const before = table.get(row);
            const next = add(before === undefined ? initial(by) : valueOf(before), of, by);
            if (next === undefined && before === undefined) continue;
            const moment = latest(at, before);
            if (next === undefined) table.delete(row);
            else table.put(row, toStored(moment.timestamp, serde.encode(next)));
            if (before === undefined) {
              dropLater.remember(start);
              if (final) scope.context.schedule({ name: close, key: row, clock: 'stream', at: closes });
            }
            if (!final) out({ key: by, start, end: start + sizeMs }, { next, old: () => valueOf(before) } satisfies Change, moment);
          }
          if (late) scope.late();
        },
      ];
    },
  });
  const stored = {
    store,
    value,
    timestamped: true,
    keys: async (open: (serde: AnySerde) => Promise<AnySerde>) => windowRowKeys(rowKeys(await open(key)), sizeMs) as RowKeys<unknown>,
  };
  return { graph, node, key: undefined, value, stored };
}

/** Rows that one timer drops; more go with the next. */
const maxDropped = 2000;

/** Rows that begin with a time go when stream time has passed it by enough: one timer for each time, not for each row. */
export function dropsByTime(
  scope: Scope,
  node: Node,
  tables: readonly (() => {
    range(of: { from: string; to: string; limit: number }): Iterable<readonly [string, unknown]>;
    delete(key: string): void;
  })[],
  deadline: (time: number) => number,
  stepMs: number,
): { remember(time: number): void; drop(time: string): void } {
  const name = timerName(node, 'drop');
  const known = new Set<number>();
  scope.onForget(() => known.clear());
  const schedule = (time: number): void => scope.context.schedule({ name, key: timeText(time), clock: 'stream', at: deadline(time) });
  return {
    remember(time) {
      if (known.has(time)) return;
      known.add(time);
      schedule(time);
    },
    drop(text) {
      const [time] = splitTime(text);
      let dropped = 0;
      for (const rows of tables) {
        for (const [row] of [...rows().range({ from: text, to: timeText(time + stepMs), limit: maxDropped })]) {
          rows().delete(row);
          dropped++;
        }
      }
      if (dropped >= maxDropped) schedule(time);
    },
  };
}
