import { ReplySchema, SpoolError, toSpoolError, type Encoder, type ReadMeta, type Reply } from '@spool/schemas';
import type { Instance } from '@spool/streams';

/** Sends replies to where the requests say. A reply that cannot be sent leaves its caller with an indeterminate answer, which a retry resolves. */
export interface ReplySender {
  send(meta: ReadMeta, reply: Partial<Reply> & Pick<Reply, 'outcome'>): void;
}

const blank: Omit<Reply, 'outcome'> = { version: null, events: [], position: '', view: null, problem: null };

export function createReplySender(instance: Instance): ReplySender {
  const encoders = new Map<string, Promise<Encoder<Reply>>>();
  const ready = new Map<string, Encoder<Reply>>();
  const give = (meta: ReadMeta, encoder: Encoder<Reply>, reply: Reply): void => {
    const { topic, partition } = meta.replyTo!;
    instance.producer.send({ topic, partition, key: meta.id!, value: encoder.encode(reply) }).catch((error: unknown) => {
      instance.log('warn', 'a reply was not sent', { topic, partition, error: String(error) });
    });
  };
  return {
    send(meta, partial) {
      if (meta.replyTo === undefined || meta.id === undefined) return;
      const reply: Reply = { ...blank, ...partial };
      const { topic } = meta.replyTo;
      const known = ready.get(topic);
      if (known !== undefined) {
        give(meta, known, reply);
        return;
      }
      let pending = encoders.get(topic);
      if (pending === undefined) encoders.set(topic, (pending = instance.codec.encoder(topic, ReplySchema)));
      pending.then(
        (encoder) => {
          ready.set(topic, encoder);
          give(meta, encoder, reply);
        },
        (error: unknown) => {
          encoders.delete(topic);
          instance.log('warn', 'a reply was not sent', { topic, error: String(error) });
        },
      );
    },
  };
}

export function problemOf(thrown: unknown): Reply['problem'] {
  const error = toSpoolError(thrown);
  return { code: error.code, detail: error.message, violations: error.violations.map((violation) => ({ ...violation })) };
}

export const expired = (meta: ReadMeta, now: number): boolean => meta.deadline !== undefined && now > meta.deadline;
export const expiry = (meta: ReadMeta, now: number): Reply['problem'] =>
  problemOf(new SpoolError('EXPIRED', `the deadline passed ${now - (meta.deadline ?? now)} ms before the work began`));
