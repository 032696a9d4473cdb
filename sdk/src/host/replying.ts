import {
  messageHeaders,
  ReplySchema,
  SpoolError,
  toSpoolError,
  type Encoder,
  type ReadMeta,
  type Reply,
  type ReplyAddress,
} from '@spool/schemas';
import type { Instance, ProducerRecord } from '@spool/streams';

/** What a host says to a request; the rest is blank. */
export type Answered = Partial<Reply> & Pick<Reply, 'outcome'>;

/** Sends replies to where the requests say. */
export interface ReplySender {
  /** After the commit. A reply that cannot be sent leaves its caller with an indeterminate answer, which a retry resolves. */
  send(meta: ReadMeta, reply: Answered): void;
  /** As `send`, and resolves when it is sent, or has failed to be. */
  update(meta: ReadMeta, reply: Answered): Promise<void>;
  /** Makes `record` ready for a topic; undefined when it is. */
  prepare(topic: string): Promise<void> | undefined;
  /** The reply as a record for the transaction of what it tells of, to one who asked with a `replyKey`. */
  record(meta: ReadMeta, reply: Answered): ProducerRecord;
}

export function createReplySender(instance: Instance): ReplySender {
  const encoders = new Map<string, Promise<void>>();
  const ready = new Map<string, Encoder<Reply>>();
  const prepare = (topic: string): Promise<void> | undefined => {
    if (ready.has(topic)) return undefined;
    let pending = encoders.get(topic);
    if (pending === undefined) {
      pending = instance.codec.encoder(topic, ReplySchema).then((encoder) => void ready.set(topic, encoder));
      pending.catch(() => encoders.delete(topic));
      encoders.set(topic, pending);
    }
    return pending;
  };
  const encode = (topic: string, { outcome, version = null, events = [], position = '', view = null, problem = null }: Answered): Buffer =>
    ready.get(topic)!.encode({ outcome, version, events, position, view, problem });
  const update = (meta: ReadMeta, reply: Answered): Promise<void> => {
    if (meta.replyTo === undefined || meta.id === undefined) return Promise.resolve();
    const { topic, partition } = meta.replyTo;
    const key = meta.id;
    const failed = (error: unknown): void => instance.log('warn', 'a reply was not sent', { topic, partition, error: String(error) });
    const give = (): Promise<void> =>
      instance.producer.send({ topic, partition, key, value: encode(topic, reply) }).then(() => undefined, failed);
    const pending = prepare(topic);
    return pending === undefined ? give() : pending.then(give, failed);
  };
  return {
    prepare,
    send: (meta, reply) => void update(meta, reply),
    update,
    record(meta, reply) {
      const { topic, partition } = meta.replyTo!;
      const headers = messageHeaders({
        id: `${meta.id!}/reply`,
        type: ReplySchema.fullName,
        source: instance.bundle,
        time: instance.now(),
        correlationId: meta.correlationId,
        causationId: meta.id,
        commandId: meta.id,
        traceparent: meta.traceparent,
        context: meta.context,
      });
      return { topic, partition, key: meta.replyKey!, value: encode(topic, reply), headers };
    },
  };
}

/** Whether the reply is to stand in the transaction of what it tells of. */
export const isDurable = (meta: ReadMeta): meta is ReadMeta & { readonly replyTo: ReplyAddress; readonly replyKey: string } =>
  meta.replyKey !== undefined && meta.replyTo !== undefined;

export function problemOf(thrown: unknown): Reply['problem'] {
  const error = toSpoolError(thrown);
  return { code: error.code, detail: error.message, violations: error.violations.map((violation) => ({ ...violation })) };
}

export const expired = (meta: ReadMeta, now: number): boolean => meta.deadline !== undefined && now > meta.deadline;
export const expiry = (meta: ReadMeta, now: number): Reply['problem'] =>
  problemOf(new SpoolError('EXPIRED', `the deadline passed ${now - (meta.deadline ?? now)} ms before the work began`));
