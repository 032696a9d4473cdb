import { randomUUID } from 'node:crypto';
import { AuditEntrySchema, ControlOrderSchema, type AuditEntry, type ControlOrder } from '@spool/schemas';
import { partitionOf, type Instance, type ProducerRecord } from '@spool/streams';

/** Whoever calls, as the audit log has them. */
export interface Actor {
  readonly name: string;
  readonly roles: readonly string[];
}

/** An order without what is the same for all. */
export type Wish = Partial<ControlOrder> & Pick<ControlOrder, 'consumer' | 'action' | 'actor' | 'reason'>;

export interface OrderRecords {
  /** For the `control` topic. */
  order(wish: Wish): ProducerRecord;
  /** For the `audit` topic. */
  audit(actor: Actor, action: string, target: string, reason: string, outcome?: AuditEntry['outcome']): ProducerRecord;
}

export async function orderRecords({ codec, topics, now }: Pick<Instance, 'codec' | 'topics' | 'now'>): Promise<OrderRecords> {
  const orders = await codec.encoder(topics.control.name, ControlOrderSchema);
  const audits = await codec.encoder(topics.audit.name, AuditEntrySchema);
  return {
    order(wish) {
      const value = orders.encode({ ...blank, ...wish, id: randomUUID(), at: now() });
      // All orders of a consumer stand in one partition, in order; the key says which later ones take the place of earlier ones.
      const partition = partitionOf(wish.consumer, topics.control.partitions);
      return { topic: topics.control.name, partition, key: `${wish.consumer}/${matter(wish.action)}`, value };
    },
    audit({ name, roles }, action, target, reason, outcome = 'done') {
      const value = audits.encode({ id: randomUUID(), actor: name, roles: [...roles], action, target, reason, outcome, at: now() });
      return { topic: topics.audit.name, key: name, value };
    },
  };
}

const blank = {
  replayId: null,
  positions: [],
  targets: [],
  recordsPerSecond: null,
  resetState: true,
  filter: null,
  records: null,
  key: null,
  letter: null,
  value: null,
} as const;

/** The last order of a matter outlives compaction: a pause holds for as long as nobody resumes. A rewind ends a pause. */
function matter(action: ControlOrder['action']): 'flow' | 'rate' | 'moves' {
  if (action === 'pause' || action === 'resume' || action === 'rewind') return 'flow';
  return action === 'rate' ? 'rate' : 'moves';
}
