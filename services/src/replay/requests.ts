import { z } from 'zod';

const offsetText = z.string().regex(/^\d{1,19}$/, 'Expected an offset, as text');

/** The body of `POST /api/v1/replays`. */
export const replayRequest = z
  .strictObject({
    target: z.string().min(1).max(200).describe('The component to replay, or its consumer id'),
    mode: z.literal('rewind').describe('rewind: in place, on the live consumer; it serves what it has rebuilt so far meanwhile'),
    from: z
      .union([
        z.literal('earliest'),
        z.strictObject({ timestamp: z.iso.datetime({ offset: true }) }),
        z.strictObject({ offsets: z.record(z.string().regex(/^\d{1,9}$/, 'Expected a partition'), offsetText) }),
      ])
      .default('earliest')
      .describe('Where to begin: the start of the log, the first records at or after a time, or an offset for each partition'),
    resetState: z
      .boolean()
      .optional()
      .describe('Empty the read model first; by default only when the replay begins at the start of the log'),
    rate: z.number().positive().max(10_000_000).optional().describe('The most records per second, over all partitions'),
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
export const replayView = z.object({
  id: z.string(),
  target: z.string(),
  consumer: z.string(),
  mode: z.enum(['rewind', 'shadow', 'scratch', 'unknown']),
  state: z.enum(['planned', 'running', 'paused', 'completed', 'failed', 'cancelled', 'unknown']),
  reason: z.string(),
  actor: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  partitions: z.array(replayPartition),
  /** Offsets, markers between them included. */
  progress: z.number().describe('From 0 to 1, by offsets'),
  records: z.int().describe('Records replayed so far, over all instances'),
  recordsPerSecond: z.number().describe('Since the start of the replay'),
  secondsLeft: z.number().nullable().describe('At the rate so far; null when it cannot be said'),
  instances: z.array(z.object({ instance: z.string(), state: z.string(), records: z.int(), error: z.string().nullable() })),
  error: z.string().nullable(),
});
export type ReplayView = z.infer<typeof replayView>;
