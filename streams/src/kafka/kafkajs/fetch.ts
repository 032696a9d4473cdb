import Encoder from 'kafkajs/src/protocol/encoder.js';
import type { Message } from 'kafkajs/src/broker/index.js';
import { BrokerError, Code } from './broker-errors.js';

export interface FetchPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export interface FetchOptions {
  readonly readCommitted: boolean;
  readonly maxWaitMs: number;
  readonly maxBytes: number;
  readonly maxBytesPerPartition: number;
}

/** What a broker answers for one partition, its record batches not yet decoded. Offsets are numbers here: a log has fewer than 2^53 records. */
export interface FetchedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly code: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  /** Transactions that were rolled back, by their first offset, ascending. */
  readonly aborted: readonly AbortedTransaction[];
  /** Record batches, the last one possibly cut off. */
  readonly batches: Buffer;
}
export interface AbortedTransaction {
  readonly producerId: bigint;
  readonly firstOffset: number;
}

/** Fetch v11, in the order given: the first partition with data gets some however small the limits are. */
export function fetchMessage(positions: readonly FetchPosition[], options: FetchOptions): Message<readonly FetchedPartition[]> {
  return {
    request: { apiKey: 1, apiVersion: 11, apiName: 'Fetch', encode: () => Promise.resolve(encode(positions, options)) },
    response: { decode: (payload) => Promise.resolve(decode(payload)), parse: (answers) => Promise.resolve(answers) },
    requestTimeout: options.maxWaitMs + 10_000,
  };
}

function encode(positions: readonly FetchPosition[], options: FetchOptions): Encoder {
  const topics: Encoder[] = [];
  for (let i = 0; i < positions.length;) {
    const { topic } = positions[i]!;
    const partitions: Encoder[] = [];
    for (; i < positions.length && positions[i]!.topic === topic; i++)
      partitions.push(
        new Encoder()
          .writeInt32(positions[i]!.partition)
          .writeInt32(-1) // leader epoch: not checked
          .writeInt64(positions[i]!.offset)
          .writeInt64(-1) // log start: for replicas only
          .writeInt32(options.maxBytesPerPartition),
      );
    topics.push(new Encoder().writeString(topic).writeArray(partitions));
  }
  return new Encoder()
    .writeInt32(-1) // not a replica
    .writeInt32(options.maxWaitMs)
    .writeInt32(1) // answer as soon as there is a byte
    .writeInt32(options.maxBytes)
    .writeInt8(options.readCommitted ? 1 : 0)
    .writeInt32(0) // no fetch session
    .writeInt32(-1)
    .writeArray(topics)
    .writeArray([])
    .writeString('');
}

function decode(payload: Buffer): readonly FetchedPartition[] {
  const fetched: FetchedPartition[] = [];
  let at = 4; // throttle
  const code = payload.readInt16BE(at);
  if (code !== Code.NONE) throw new BrokerError(code, 'Fetch');
  at += 2 + 4; // session
  let topics = payload.readInt32BE(at);
  at += 4;
  for (; topics > 0; topics--) {
    const length = payload.readInt16BE(at);
    const topic = payload.toString('utf8', at + 2, at + 2 + length);
    at += 2 + length;
    let partitions = payload.readInt32BE(at);
    at += 4;
    for (; partitions > 0; partitions--) {
      const partition = payload.readInt32BE(at);
      const partitionCode = payload.readInt16BE(at + 4);
      const highWatermark = readInt64(payload, at + 6);
      const lastStableOffset = readInt64(payload, at + 14);
      const abortedCount = payload.readInt32BE(at + 30); // after the log start
      at += 34;
      const aborted: AbortedTransaction[] = [];
      for (let i = 0; i < abortedCount; i++, at += 16)
        aborted.push({ producerId: payload.readBigInt64BE(at), firstOffset: readInt64(payload, at + 8) });
      const size = Math.max(0, payload.readInt32BE(at + 4)); // after the preferred replica
      at += 8;
      fetched.push({
        topic,
        partition,
        code: partitionCode,
        highWatermark,
        lastStableOffset,
        aborted: aborted.sort((a, b) => a.firstOffset - b.firstOffset),
        batches: payload.subarray(at, at + size),
      });
      at += size;
    }
  }
  return fetched;
}

export const readInt64 = (buffer: Buffer, at: number): number => buffer.readInt32BE(at) * 0x100000000 + buffer.readUInt32BE(at + 4);
