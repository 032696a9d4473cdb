import Decoder from 'kafkajs/src/protocol/decoder.js';
import type { Message } from 'kafkajs/src/broker/index.js';
import { maxBatchBytes, writeBatch, type BatchToSend } from './record-batch.js';

export interface ProduceAnswer {
  readonly topic: string;
  readonly partition: number;
  readonly code: number;
  /** Offset of the first record of the batch. */
  readonly baseOffset: bigint;
}

/** Produce v7 with acks from all in-sync replicas, one batch for each partition. An error of one partition leaves the others alone. */
export function produceMessage(
  transactionalId: string | null,
  batches: readonly BatchToSend[],
  timeoutMs: number,
): Message<readonly ProduceAnswer[]> {
  return {
    request: { apiKey: 0, apiVersion: 7, apiName: 'Produce', encode: () => Promise.resolve(encode(transactionalId, batches, timeoutMs)) },
    response: { decode: (payload) => Promise.resolve(decode(payload)), parse: (answers) => Promise.resolve(answers) },
    requestTimeout: timeoutMs,
  };
}

function encode(transactionalId: string | null, batches: readonly BatchToSend[], timeoutMs: number): { buf: Buffer; buffer: Buffer } {
  const byTopic = new Map<string, BatchToSend[]>();
  let room = 2 + Buffer.byteLength(transactionalId ?? '') + 2 + 4 + 4;
  for (const batch of batches) {
    const of = byTopic.get(batch.topic);
    if (of) of.push(batch);
    else {
      byTopic.set(batch.topic, [batch]);
      room += 2 + Buffer.byteLength(batch.topic) + 4;
    }
    room += 4 + 4 + maxBatchBytes(batch.records);
  }
  const buf = Buffer.allocUnsafe(room);
  let at = writeString(buf, 0, transactionalId);
  at = buf.writeInt16BE(-1, at); // all in-sync replicas
  at = buf.writeInt32BE(timeoutMs, at);
  at = buf.writeInt32BE(byTopic.size, at);
  for (const [topic, of] of byTopic) {
    at = writeString(buf, at, topic);
    at = buf.writeInt32BE(of.length, at);
    for (const batch of of) {
      at = buf.writeInt32BE(batch.partition, at);
      const end = writeBatch(buf, at + 4, batch, transactionalId !== null);
      buf.writeInt32BE(end - at - 4, at);
      at = end;
    }
  }
  return { buf, buffer: buf.subarray(0, at) };
}

function writeString(buf: Buffer, at: number, text: string | null): number {
  if (text === null) return buf.writeInt16BE(-1, at);
  const length = Buffer.byteLength(text);
  return buf.writeInt16BE(length, at) + buf.write(text, at + 2, length);
}

function decode(payload: Buffer): readonly ProduceAnswer[] {
  const d = new Decoder(payload);
  const answers: ProduceAnswer[] = [];
  d.readArray(() => {
    const topic = d.readString() ?? '';
    d.readArray(() => {
      const partition = d.readInt32();
      const code = d.readInt16();
      const baseOffset = d.readInt64();
      d.readInt64(); // log append time
      d.readInt64(); // log start offset
      answers.push({ topic, partition, code, baseOffset });
    });
  });
  return answers;
}
