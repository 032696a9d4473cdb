import { SpoolError } from '@spool/schemas';
import type { Timer } from '../engine/timers.js';
import type { Table as Rows } from '../store/store.js';
import { timerName, type Moment } from './graph.js';
import { checked } from './rows.js';
import { decodeNow, untyped, type AnySerde } from './serde.js';
import { stateStores, type StreamState } from './state.js';
import type { ProcessContext, ProcessorSpec, StateStore } from './verbs.js';

type AnyStores = Readonly<Record<string, StateStore<unknown>>>;
export type AnyProcessor = ProcessorSpec<unknown, unknown, unknown, unknown, AnyStores>;

export function addProcessor(from: StreamState, name: string, spec: AnyProcessor): StreamState {
  const { graph } = from;
  const declared = Object.entries(spec.stores ?? {}).map(([as, store]) => [as, stateStores.get(store)!] as const);
  const node = graph.add({
    kind: 'process',
    name,
    parents: [from.node],
    stores: declared.map(([, { store }]) => store),
    keyed: declared.length > 0 && !from.moved,
    async open(scope, out, self) {
      const stores = new Map<string, Rows<unknown>>();
      for (const [as, { store, value }] of declared) {
        stores.set(as, overBytes(scope.rows(store), await scope.open(value)));
      }
      const prefix = timerName(self, '');
      let moment: Moment | undefined;
      const context: ProcessContext<AnyStores, unknown, unknown> = {
        store(as) {
          const rows = stores.get(as);
          if (rows === undefined) throw new SpoolError('INVALID_CONFIG', `${name} has no store ${as}; declare it under stores`);
          return rows;
        },
        forward(key, value, at) {
          out(key, value, at === undefined ? moment! : { ...moment!, ...at });
        },
        schedule: (timer) => scope.context.schedule({ ...timer, name: prefix + timer.name }),
        cancel: (timer, key) => scope.context.cancel(prefix + timer, key),
        get streamTime() {
          return scope.context.streamTime;
        },
        get now() {
          return scope.context.now;
        },
      };
      scope.onTimer(self, (timer: Timer) => {
        moment = scope.timerMoment(timer.clock);
        atOnce(name, () => spec.onTimer?.({ ...timer, name: timer.name.slice(prefix.length) }, context));
      });
      return [
        (key, value, at) => {
          moment = at;
          const { topic, partition, offset } = scope.record ?? { topic: '', partition: -1, offset: -1n as never };
          const { timestamp, headers } = at;
          atOnce(name, () => spec.handle({ key, value, timestamp, headers, position: { topic, partition, offset } }, context));
        },
      ];
    },
  });
  const { output } = spec;
  return {
    graph,
    node,
    key: output === undefined ? undefined : untyped(output.key),
    value: output === undefined ? undefined : untyped(output.value),
    moved: from.moved || output?.sameKey !== true,
  };
}

/** What an asynchronous handler does after its first wait would belong to no record. */
function atOnce(name: string, handle: () => unknown): void {
  const returned = handle();
  if (!(returned instanceof Promise)) return;
  returned.catch(() => undefined);
  throw new SpoolError('INVALID_CONFIG', `${name} gave a promise; handlers of a topology are synchronous`);
}

const overBytes = (rows: () => Rows<Buffer>, serde: AnySerde): Rows<unknown> => ({
  get(key) {
    const row = rows().get(key);
    return row === undefined ? undefined : decodeNow(serde, row);
  },
  put: (key, value) => rows().put(checked(key), serde.encode(value)),
  delete: (key) => rows().delete(key),
  *range(options) {
    for (const [key, row] of rows().range(options)) yield [key, decodeNow(serde, row)] as const;
  },
});
