import { aggregate, arrayOf, bundle, projection, projector, record, table, type Bundle } from '@spool/sdk';

export const Counter = aggregate('Counter', {
  commands: { Add: record('chaos.Add', { n: 'int' }) },
  events: { Added: record('chaos.Added', { n: 'int' }) },
  initial: () => ({ sum: 0 }),
  decide: { Add: ({ n }) => [{ type: 'Added', data: { n } }] },
  evolve: { Added: ({ sum }, { n }) => ({ sum: sum + n }) },
});

/** A row cannot be right that has missed an event, or had one twice. */
export interface CountRow {
  readonly sum: number;
  readonly version: number;
}
/** An event that was acted on, as an outside receiver is told of it. */
export interface Effect {
  readonly eventId: string;
  readonly instance: string;
}
export type Act = (eventId: string) => void;

/** Violations on purpose: a replay passes over some events; a copy that does not answer acts all the same. */
export const replayTamperings = ['forgetful', 'loud'] as const;
export type ReplayTampering = (typeof replayTamperings)[number];

const row = record('chaos.CountRow', { id: 'string', sum: 'long', version: 'long' });
const totals = (act: Act, tampering: ReplayTampering | undefined) =>
  projector('Totals', {
    of: Counter,
    tables: { totals: table<CountRow>() },
    on: {
      Added: ({ n }, tables, { aggregateId, eventId, version, replayId }) => {
        if (tampering === 'forgetful' && replayId !== undefined && version % 17 === 0) return;
        const before = tables.totals.get(aggregateId);
        tables.totals.put(aggregateId, { sum: (before?.sum ?? 0) + n, version });
        if (replayId === undefined || tampering === 'loud') act(eventId);
      },
    },
  });
const sums = (reads: ReturnType<typeof totals>) =>
  projection('Sums', {
    reads,
    queries: { All: { request: record('chaos.All', {}), view: record('chaos.AllView', { rows: arrayOf(row) }) } },
    answer: { All: (_, tables) => ({ rows: [...tables.totals.range()].map(([id, found]) => ({ id, ...found })) }) },
  });
/** As a caller knows it. */
export const Sums = sums(totals(() => undefined, undefined));

export function counting(act: Act, tampering: ReplayTampering | undefined): Bundle {
  const Totals = totals(act, tampering);
  return bundle({ id: 'counting', version: '1.0.0', components: [Counter, Totals, sums(Totals)] });
}
