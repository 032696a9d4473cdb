import { z } from 'zod';

const offsetText = z.string().regex(/^\d{1,19}$/, 'Expected an offset, as text');

const places = [
  z.strictObject({ timestamp: z.iso.datetime({ offset: true }) }),
  z.strictObject({ offsets: z.record(z.string().regex(/^\d{1,9}$/, 'Expected a partition'), offsetText) }),
  z.strictObject({
    aggregate: z.strictObject({ type: z.string().min(1).max(100), id: z.string().min(1).max(500) }),
    version: z.int().positive(),
  }),
  z.strictObject({ eventId: z.string().min(1).max(500) }),
] as const;
const names = z.array(z.string().min(1).max(500)).min(1).max(1000);
const choice = z.union([z.strictObject({ include: names }), z.strictObject({ skip: names })]);

/** The body of `POST /api/v1/replays`. */
export const replayRequest = z
  .strictObject({
    target: z.string().min(1).max(200).describe('The component to replay, or its consumer id'),
    with: names
      .max(20)
      .optional()
      .describe(
        'Others that are replayed with it, each as a replay of its own: they begin and end at the same places, take orders together, and are ' +
          'handed over at one cut, in one step',
      ),
    mode: z
      .enum(['rewind', 'shadow', 'scratch'])
      .describe(
        'rewind: in place, on the live consumer; it serves what it has rebuilt so far meanwhile. shadow: a second copy is built while the first ' +
          'one serves, to be promoted. scratch: a copy is built on one instance, compared row by row, and thrown away',
      ),
    from: z
      .union([z.literal('earliest'), ...places])
      .default('earliest')
      .describe(
        'Where to begin: the start of the log, the first records at or after a time, an offset for each partition, or an event, by the version of ' +
          'its aggregate or by its id: other partitions then begin with the first record of its time',
      ),
    to: z
      .union(places)
      .optional()
      .describe(
        'rewind: the first records, in the forms of `from`, that are not handled again. By default all are, up to where the log ends at the start',
      ),
    eventTypes: choice.optional().describe('rewind: the types of the events that are handled again, or those that are not'),
    keys: choice.optional().describe('rewind: the keys (ids of aggregates) whose events are handled again, or those whose are not'),
    resetState: z
      .boolean()
      .optional()
      .describe('rewind: empty the read model first; by default only when all is replayed from the start of the log'),
    rate: z.number().positive().max(10_000_000).optional().describe('The most records per second, over all partitions'),
    maxLagSeconds: z
      .number()
      .positive()
      .max(86_400)
      .nullable()
      .default(10)
      .describe(
        'What other consumers may be behind at the most, in seconds: beyond it the replay slows itself down until they have caught up. Those that ' +
          'were behind before do not count. null: no bound',
      ),
    dryRun: z.boolean().default(false).describe('Say what would be replayed, and do nothing'),
    reason: z.string().min(1).max(500).describe('Why; kept with the replay and in the audit log'),
  })
  .describe('What to replay, from where, and why');
export type ReplayRequest = z.infer<typeof replayRequest>;

const replayPartition = z.object({
  topic: z.string(),
  partition: z.int(),
  start: z.string().describe('Offset of the first record to replay'),
  current: z.string().describe('Offset of the next record to replay; the least of all instances'),
  target: z.string().describe('Offset of the first record that is new again'),
});
const replayPreview = z.object({
  exact: z.boolean().describe('Whether all was read; otherwise the counts stand for the whole, by the part that was read in a few seconds'),
  records: z.int().describe('Records to replay'),
  types: z.array(z.object({ type: z.string(), records: z.int() })).describe('Records by event type, the most first; empty: without a type'),
  read: z.int().describe('Records that were read to say so'),
  seconds: z
    .int()
    .nullable()
    .describe('How long it would take, by the fastest replay of the target that is known and by `rate`; null when there is neither'),
});
export type ReplayPreview = z.infer<typeof replayPreview>;
export const replayView = z.object({
  id: z.string(),
  target: z.string(),
  consumer: z.string(),
  mode: z.enum(['rewind', 'shadow', 'scratch', 'unknown']),
  state: z.enum([
    'planned',
    'running',
    'paused',
    'ready',
    'promoting',
    'completed',
    'rollingBack',
    'rolledBack',
    'failed',
    'cancelled',
    'unknown',
  ]),
  group: z.string().nullable().describe('The first of the replays that were ordered together; null: it was ordered alone'),
  reason: z.string(),
  actor: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  partitions: z.array(replayPartition),
  /** Offsets, markers between them included. */
  progress: z.number().describe('From 0 to 1, by offsets'),
  records: z.int().describe('Records replayed so far, over all instances'),
  skipped: z.int().describe('Records passed over by `to`, `eventTypes` and `keys`'),
  recordsPerSecond: z.number().describe('Since the start of the replay'),
  secondsLeft: z.number().nullable().describe('At the rate so far; null when it cannot be said'),
  slowedFor: z.string().nullable().describe('The consumer that fell behind (`maxLagSeconds`), so that the replay goes slower'),
  instances: z.array(z.object({ instance: z.string(), state: z.string(), records: z.int(), error: z.string().nullable() })),
  error: z.string().nullable(),
  preview: replayPreview.optional().describe('Of a dry run: what would be replayed'),
});
const count = z.int();
/** What a scratch replay found. */
export const reportView = z.object({
  replay: z.string(),
  instance: z.string().describe('It compared its own copies'),
  at: z.iso.datetime(),
  positions: z.array(z.object({ topic: z.string(), partition: z.int(), offset: z.string() })).describe('Both reflected this'),
  equal: z.boolean(),
  tables: z.array(
    z.object({ table: z.string(), rows: count, copyRows: count, added: count, removed: count, changed: count }).describe('Rows'),
  ),
  samples: z
    .array(z.object({ table: z.string(), key: z.string(), live: z.unknown().nullable(), copy: z.unknown().nullable() }))
    .describe('The first 20 differences of each table'),
});
export type ReportView = z.infer<typeof reportView>;
export type ReplayView = z.infer<typeof replayView>;
