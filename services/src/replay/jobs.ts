import {
  CopyArrivalSchema,
  ReplayJobSchema,
  ReplayProgressSchema,
  ReplayReportSchema,
  SpoolError,
  type Codec,
  type CopyArrival,
  type ReplayJob,
  type ReplayProgress,
  type ReplayReport,
} from '@spool/schemas';
import { offset, partitionKey, readTable, type Kafka, type Offset } from '@spool/streams';
import type { ReplayView } from './requests.js';

/** Every job and every instance's progress, as they stand on `replay.jobs`. */
export interface Jobs extends AsyncDisposable {
  get(id: string): ReplayJob | undefined;
  list(): readonly ReplayJob[];
  progress(id: string): readonly ReplayProgress[];
  /** Instances whose copies have come to the last cut. */
  arrivals(id: string): readonly CopyArrival[];
  /** What a scratch replay has found. */
  report(id: string): ReplayReport | undefined;
  /** How far the topic has been read. */
  readonly position: Offset;
  /** @returns forgets the listener */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}

type Row =
  | { readonly kind: 'job'; readonly job: ReplayJob }
  | { readonly kind: 'progress'; readonly progress: ReplayProgress }
  | { readonly kind: 'arrival'; readonly arrival: CopyArrival }
  | { readonly kind: 'report'; readonly report: ReplayReport };

export async function openJobs(kafka: Kafka, codec: Codec, topic: string, onError: (error: unknown) => void): Promise<Jobs> {
  const jobs = codec.decoder(ReplayJobSchema);
  const progress = codec.decoder(ReplayProgressSchema);
  const arrivals = codec.decoder(CopyArrivalSchema);
  const reports = codec.decoder(ReplayReportSchema);
  // The key tells them apart: `<job>`, `<job>/<consumer>/<instance>`, and that with `/arrival` or `/report`.
  const table = await readTable<Row>({
    kafka,
    topic,
    onError,
    async decode(key, value) {
      if (!key.includes('/')) return { kind: 'job', job: await jobs.decode(value) };
      if (key.endsWith('/arrival')) return { kind: 'arrival', arrival: await arrivals.decode(value) };
      if (key.endsWith('/report')) return { kind: 'report', report: await reports.decode(value) };
      return { kind: 'progress', progress: await progress.decode(value) };
    },
  });
  const of = <K extends Row['kind']>(id: string, kind: K): Extract<Row, { kind: K }>[] =>
    [...table.entries()].flatMap(([key, row]) => (row.kind === kind && key.startsWith(`${id}/`) ? [row as Extract<Row, { kind: K }>] : []));
  return {
    get(id) {
      const row = table.get(id);
      return row?.kind === 'job' ? row.job : undefined;
    },
    list: () => [...table.entries()].flatMap(([, row]) => (row.kind === 'job' ? [row.job] : [])).sort((a, b) => b.createdAt - a.createdAt),
    progress: (id) => of(id, 'progress').map((row) => row.progress),
    arrivals: (id) => of(id, 'arrival').map((row) => row.arrival),
    report: (id) => of(id, 'report')[0]?.report,
    get position() {
      return table.positions.get(partitionKey({ topic, partition: 0 })) ?? offset(0);
    },
    onChange: (listener) => table.onChange(() => listener()),
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}

type At = ReplayJob['partitions'][number];
/** Where a partition is in each instance that has said so. */
const placesOf = ({ topic, partition }: At, progress: readonly ReplayProgress[]): readonly number[] =>
  progress.flatMap((row) => row.partitions.filter((at) => at.topic === topic && at.partition === partition).map((at) => at.current));

/** Where the instances share the partitions: which of them have not come to their targets, whoever had them. */
export const unreached = (job: ReplayJob, progress: readonly ReplayProgress[]): readonly At[] =>
  job.partitions.filter((at) => Math.max(at.start, ...placesOf(at, progress)) < at.target);

/** A job is at most as far as the slowest of the instances that take part; a partition that they share, as far as the last that had it. */
export function viewOf(job: ReplayJob, consumer: string, progress: readonly ReplayProgress[], slowedFor: string | undefined): ReplayView {
  const shared = progress.some((row) => row.shared);
  const partitions = job.partitions.map((at) => {
    const { topic, partition, start, target } = at;
    const places = placesOf(at, progress);
    const current = places.length === 0 ? start : shared ? Math.max(...places) : Math.min(...places);
    return { topic, partition, start, current: job.state === 'completed' || job.state === 'ready' ? target : current, target };
  });
  const whole = partitions.reduce((sum, { start, target }) => sum + target - start, 0);
  const done = partitions.reduce((sum, { start, current }) => sum + current - start, 0);
  const records = progress.reduce((sum, row) => sum + row.records, 0);
  const began = Math.min(...progress.map((row) => row.startedAt));
  const until = Math.max(...progress.map((row) => row.updatedAt));
  const seconds = progress.length === 0 ? 0 : Math.max(0.001, (until - began) / 1000);
  const perSecond = seconds === 0 ? 0 : done / seconds;
  return {
    id: job.id,
    target: job.target,
    consumer,
    mode: job.mode,
    state: job.state === 'running' && progress.some((row) => row.state === 'paused') ? 'paused' : job.state,
    group: job.group === '' ? null : job.group,
    reason: job.reason,
    actor: job.actor,
    createdAt: new Date(job.createdAt).toISOString(),
    updatedAt: new Date(Math.max(job.updatedAt, ...progress.map((row) => row.updatedAt))).toISOString(),
    partitions: partitions.map((at) => ({ ...at, start: String(at.start), current: String(at.current), target: String(at.target) })),
    progress: whole === 0 ? 1 : done / whole,
    records,
    skipped: progress.reduce((sum, row) => sum + row.skipped, 0),
    recordsPerSecond: seconds === 0 ? 0 : Math.round(records / seconds),
    secondsLeft: job.state === 'running' ? (perSecond === 0 ? null : Math.round((whole - done) / perSecond)) : 0,
    slowedFor: slowedFor ?? null,
    instances: progress.map(({ instance, state, records: of, error }) => ({ instance, state, records: of, error })),
    error: job.error,
  };
}

/** How fast a replay went that has reached its end, by offsets per second; undefined while it has not, or where there was nothing to do. */
export function speedOf(job: ReplayJob, progress: readonly ReplayProgress[]): number | undefined {
  const whole = job.partitions.reduce((sum, { start, target }) => sum + target - start, 0);
  if (whole === 0 || progress.length === 0 || progress.some((row) => row.state !== 'completed')) return undefined;
  const began = Math.min(...progress.map((row) => row.startedAt));
  return (whole * 1000) / Math.max(1, Math.max(...progress.map((row) => row.updatedAt)) - began);
}

export const unknownReplay = (id: string): SpoolError => new SpoolError('UNKNOWN_REPLAY', `there is no replay ${id}`);
