import { LeaseRequestSchema, LeaseRowSchema, toSpoolError, type LeaseRequest, type LeaseRow } from '@spool/schemas';
import type { TaskContext } from '../engine/handling.js';
import { sweepTimer } from '../engine/sweep.js';
import { rowsWork } from '../instance/rows-work.js';
import type { ProcessorDefinition, TaskRequest, TaskWork } from '../engine/work.js';
import type { Instance } from '../instance/instance.js';
import type { Table } from '../store/store.js';
import type { TopicCatalogue } from '../topics/topics.js';

/** Rows of leases have this prefix on `cluster.leases`; the grantor's checkpoint and timer lie beside them. */
export const leasePrefix = 'l/';
const leaseTable = 'leases';
const sweepName = 'expiry';

export interface LeaseGrantorOptions {
  /** A clock in milliseconds that is never set. @default performance.now */
  readonly elapsed?: () => number;
}

/** Without it nobody gets a lease, nor keeps one. */
export const leaseConsumer = ({ namespace }: Pick<TopicCatalogue, 'namespace'>): string => `${namespace}spool.leases`;

/**
 * Grants the leases of the cluster: one partition, and so one grantor, fenced by the log. What is held stands in the log; when it was last
 * renewed does not: a grantor that takes over grants each holder its whole time anew, and nobody gets a lease too early.
 */
export function leaseGrantor(instance: Instance, { elapsed = () => performance.now() }: LeaseGrantorOptions = {}): ProcessorDefinition {
  const { topics } = instance;
  const consumer = leaseConsumer(topics);
  return {
    consumer,
    sources: [topics.leaseRequests.name],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => openTask(instance, consumer, task, elapsed),
  };
}

async function openTask(instance: Instance, consumer: string, task: TaskRequest, elapsed: () => number): Promise<TaskWork> {
  const { codec, topics } = instance;
  const changelog = { topic: topics.leases.name, partition: Number(task.id) };
  const encoder = await codec.encoder(changelog.topic, LeaseRowSchema);
  const rowDecoder = codec.decoder(LeaseRowSchema);
  const requests = codec.decoder(LeaseRequestSchema);
  const sweep = sweepTimer(sweepName);
  const renewedAt = new Map<string, number>();

  const put = (row: LeaseRow, context: TaskContext): void => {
    context.table<LeaseRow>(leaseTable).put(row.lease, row);
    context.emit({ ...changelog, key: leasePrefix + row.lease, value: encoder.encode(row) });
  };
  const hold = (row: LeaseRow, context: TaskContext): void => {
    renewedAt.set(row.lease, elapsed());
    put(row, context);
    sweep.need(context.now + row.ttlMs, context);
  };
  const free = (row: LeaseRow, context: TaskContext): void => {
    renewedAt.delete(row.lease);
    put({ ...row, holder: null, instance: null, since: context.now }, context);
  };

  const answer = (request: LeaseRequest, context: TaskContext): void => {
    const rows = context.table<LeaseRow>(leaseTable);
    const { id, holder, ttlMs } = request;
    if (request.action === 'acquire') {
      const names = request.slots === 0 ? [request.lease] : Array.from({ length: request.slots }, (_, slot) => `${request.lease}/${slot}`);
      // The request may come again, as long as its answer has not been seen.
      const lease = names.find((name) => rows.get(name)?.holder === holder) ?? names.find((name) => isFree(rows, name));
      if (lease === undefined) return;
      const row = rows.get(lease);
      const since = row?.holder === holder ? row.since : context.now;
      const epoch = row?.holder === holder ? row.epoch : (row?.epoch ?? 0) + 1;
      hold({ lease, epoch, holder, instance: request.instance, request: id, ttlMs, since }, context);
      return;
    }
    const row = rows.get(request.lease);
    if (row === undefined || row.holder !== holder || row.epoch !== request.epoch) return;
    if (request.action === 'renew') hold({ ...row, request: id, ttlMs }, context);
    else if (request.action === 'release') free(row, context);
  };

  return rowsWork({
    instance,
    task,
    consumer,
    topic: changelog.topic,
    prefix: leasePrefix,
    table: leaseTable,
    idOf: (key) => key.slice(leasePrefix.length),
    decode: (value) => rowDecoder.decode(value),
    async handle(record, context) {
      if (record.value === null) return;
      let request: LeaseRequest;
      try {
        request = await requests.decode(record.value);
      } catch (thrown) {
        if (toSpoolError(thrown).entry.retryable === 'backoff') throw thrown;
        instance.log('warn', 'a lease request cannot be read', { offset: String(record.offset), error: String(thrown) });
        return;
      }
      answer(request, context);
    },
    onTimer(timer, context) {
      sweep.fired(timer, context);
      const held = [...context.table<LeaseRow>(leaseTable).range()].map(([, row]) => row).filter((row) => row.holder !== null);
      for (const row of held) {
        const renewed = renewedAt.get(row.lease) ?? elapsed();
        renewedAt.set(row.lease, renewed);
        const left = renewed + row.ttlMs - elapsed();
        if (left <= 0) free(row, context);
        else sweep.need(context.now + left, context);
      }
    },
  });
}

const isFree = (rows: Table<LeaseRow>, name: string): boolean => (rows.get(name)?.holder ?? null) === null;
