import { SpoolError } from '@spool/schemas';
import { dropsByTime } from './aggregates.js';
import { timerName, type Emit, type Moment } from './graph.js';
import { rowKeys, storedBytes, storedTimestamp, toStored } from './rows.js';
import { decodeNow, type AnySerde } from './serde.js';
import { needed, settled, type StreamState, type TableState } from './state.js';
import { splitTime, timeText } from './windows.js';

type Joiner = (value: unknown, other: unknown, key: unknown) => unknown;

/** A stream with the rows of a table, as they stand when the record comes. */
export function joinTable(state: StreamState, table: TableState, joiner: Joiner, left: boolean, name?: string): StreamState {
  const { graph } = state;
  const named = name ?? `${left ? 'leftJoin' : 'join'}-${graph.nodes.length}`;
  const from = settled(state, named, { dropNullKeys: !left });
  const node = graph.add({
    kind: left ? 'leftJoin' : 'join',
    name: named,
    parents: [from.node, table.node],
    keyed: true,
    open: (scope, out) => [
      (key, value, at) => {
        if (value === null || (key === null && !left)) return scope.skip();
        const row = key === null ? undefined : scope.lookup(table.node)(key)?.value;
        if (row !== undefined || left) out(key, joiner(value, row, key), at);
      },
      () => undefined,
    ],
  });
  return { graph, node, key: from.key, value: undefined, moved: false };
}

export interface AnyJoinWindow {
  readonly beforeMs: number;
  readonly afterMs: number;
  readonly graceMs: number;
  readonly key?: AnySerde;
  readonly value?: AnySerde;
  readonly otherValue?: AnySerde;
}

const minStepMs = 1000;

/** Rows of a key in a span of time: its records by number, and how many there are. A key's row ends behind its last slash. */
const recordRow = (span: string, key: string, n: number): string => `${span}${key}/${n}`;
const countRow = (span: string, key: string): string => `${span}${key}/#`;

/**
 * Pairs of records of two streams that are near in time. Each side keeps its records by spans of time and keys: a look-up reads those of a key in
 * the spans around, row by row, and what has passed goes span by span. A record of a left join that waits for a partner has a timer.
 */
export function joinWithin(
  name: string,
  one: StreamState,
  two: StreamState,
  window: AnyJoinWindow,
  joiner: Joiner,
  left: boolean,
): StreamState {
  const { graph } = one;
  const { beforeMs, afterMs, graceMs } = window;
  if (![beforeMs, afterMs, graceMs].every((ms) => Number.isSafeInteger(ms)) || beforeMs + afterMs < 0 || graceMs < 0) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `${graph.name}: ${name} joins ${beforeMs} ms before to ${afterMs} ms after with a grace of ${graceMs} ms`,
    );
  }
  const with_ = (state: StreamState, value: AnySerde | undefined, side: string): StreamState =>
    settled({ ...state, key: window.key ?? state.key, value: value ?? state.value }, `${name}.${side}`, { dropNullKeys: true });
  const ours = with_(one, window.value, 'left');
  const theirs = with_(two, window.otherValue, 'right');
  const key = needed(ours, 'key', name);
  const values = [needed(ours, 'value', name), needed(theirs, 'value', `${name} (otherValue)`)] as const;
  const stores = [graph.addStore(`${name}.left`), graph.addStore(`${name}.right`)] as const;
  const keptMs = Math.max(beforeMs, afterMs, 0) + graceMs;
  const stepMs = Math.max(beforeMs + afterMs, minStepMs);
  const spanOf = (at: number): number => Math.floor(Math.max(0, at) / stepMs) * stepMs;

  const node = graph.add({
    kind: left ? 'leftJoinStream' : 'joinStream',
    name,
    parents: [ours.node, theirs.node],
    stores,
    keyed: true,
    async open(scope, out, self) {
      const keys = rowKeys(await scope.open(key));
      const serdes = [await scope.open(values[0]), await scope.open(values[1])] as const;
      const tables = [scope.rows(stores[0]), scope.rows(stores[1])] as const;
      const drops = dropsByTime(scope, self, tables, (span) => span + stepMs + keptMs + 1, stepMs);
      const alone = timerName(self, 'alone');

      const countOf = (side: 0 | 1, row: string): number => tables[side]().get(row)?.readUInt32BE() ?? 0;
      const keep = (side: 0 | 1, of: string, value: unknown, at: number): string => {
        const span = timeText(spanOf(at));
        const counter = countRow(span, of);
        const count = countOf(side, counter);
        const row = recordRow(span, of, count);
        tables[side]().put(row, toStored(at, serdes[side].encode(value)));
        const next = Buffer.allocUnsafe(4);
        next.writeUInt32BE(count + 1);
        tables[side]().put(counter, next);
        drops.remember(spanOf(at));
        return row;
      };
      const partners = (side: 0 | 1, of: string, from: number, to: number): (readonly [row: string, stored: Buffer])[] => {
        const found: (readonly [string, Buffer])[] = [];
        for (let span = spanOf(from); span <= spanOf(to); span += stepMs) {
          const text = timeText(span);
          const count = countOf(side, countRow(text, of));
          for (let n = 0; n < count; n++) {
            const row = recordRow(text, of, n);
            const stored = tables[side]().get(row);
            if (stored !== undefined && storedTimestamp(stored) >= from && storedTimestamp(stored) <= to) found.push([row, stored]);
          }
        }
        return found.sort(([, a], [, b]) => storedTimestamp(a) - storedTimestamp(b));
      };
      const take =
        (side: 0 | 1, earlier: number, later: number): Emit =>
        (by, value, at) => {
          if (by === null || value === null || at.timestamp < 0) return scope.skip();
          const { timestamp } = at;
          if (timestamp + later + graceMs < scope.context.streamTime) return scope.late();
          const of = keys.toRow(by);
          const own = keep(side, of, value, timestamp);
          let met = false;
          for (const [row, stored] of partners(side === 0 ? 1 : 0, of, timestamp - earlier, timestamp + later)) {
            met = true;
            const other = decodeNow(serdes[side === 0 ? 1 : 0], storedBytes(stored));
            if (left && side === 1) scope.context.cancel(alone, row);
            const moment: Moment = storedTimestamp(stored) > timestamp ? { ...at, timestamp: storedTimestamp(stored) } : at;
            out(by, side === 0 ? joiner(value, other, by) : joiner(other, value, by), moment);
          }
          if (left && side === 0 && !met)
            scope.context.schedule({ name: alone, key: own, clock: 'stream', at: timestamp + later + graceMs + 1 });
        };
      scope.onTimer(self, ({ name: due, key: row }) => {
        if (due !== alone) return drops.drop(row);
        const stored = tables[0]().get(row);
        if (stored === undefined) return;
        const [, rest] = splitTime(row);
        const by = keys.fromRow(rest.slice(0, rest.lastIndexOf('/')));
        const timestamp = storedTimestamp(stored);
        out(by, joiner(decodeNow(serdes[0], storedBytes(stored)), undefined, by), { timestamp, headers: {} });
      });
      return [take(0, beforeMs, afterMs), take(1, afterMs, beforeMs)];
    },
  });
  return { graph, node, key, value: undefined, moved: false };
}
