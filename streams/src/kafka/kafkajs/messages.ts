import Encoder from 'kafkajs/src/protocol/encoder.js';
import Decoder from 'kafkajs/src/protocol/decoder.js';
import type { Message } from 'kafkajs/src/broker/index.js';
import { BrokerError, Code } from './broker-errors.js';

/** `parse` of a message whose answer is taken as it is, errors of single topics or partitions included. */
const asIs = <T>(decoded: T): Promise<T> => Promise.resolve(decoded);

export interface TopicMetadata {
  /** NONE, or why the topic cannot be used. */
  readonly error: number;
  /** The leading node by partition; -1 when there is none at the moment. */
  readonly leaders: readonly number[];
  readonly replicas: number;
}
export interface Metadata {
  readonly brokers: readonly { readonly nodeId: number; readonly host: string; readonly port: number }[];
  readonly topics: readonly (TopicMetadata & { readonly name: string; readonly internal: boolean })[];
}

/** Metadata v6: brokers and, of the named topics (`null`: all), the leaders. Never creates a topic. An unknown topic is an entry with an error. */
export function metadataMessage(topics: readonly string[] | null): Message<Metadata> {
  return {
    request: {
      apiKey: 3,
      apiVersion: 6,
      apiName: 'Metadata',
      encode: () =>
        Promise.resolve((topics === null ? new Encoder().writeInt32(-1) : new Encoder().writeArray(topics)).writeBoolean(false)),
    },
    response: { decode: (payload) => Promise.resolve(decodeMetadata(new Decoder(payload))), parse: asIs },
  };
}

function decodeMetadata(decoder: Decoder): Metadata {
  decoder.readInt32(); // throttle
  const brokers = decoder.readArray((d) => {
    const broker = { nodeId: d.readInt32(), host: d.readString() ?? '', port: d.readInt32() };
    d.readString(); // rack
    return broker;
  });
  decoder.readString(); // cluster
  decoder.readInt32(); // controller
  const topics = decoder.readArray((d) => {
    const error = d.readInt16();
    const name = d.readString() ?? '';
    const internal = d.readBoolean();
    const leaders: number[] = [];
    let replicas = 0;
    d.readArray((p) => {
      p.readInt16(); // LEADER_NOT_AVAILABLE shows as leader -1 too
      const partition = p.readInt32();
      leaders[partition] = p.readInt32();
      replicas = p.readArray((r) => r.readInt32()).length;
      p.readArray((r) => r.readInt32()); // in-sync replicas
      p.readArray((r) => r.readInt32()); // offline replicas
    });
    return { error, name, internal, leaders, replicas };
  });
  return { brokers, topics };
}

export interface ProducerIdentity {
  readonly producerId: bigint;
  readonly epoch: number;
}

/**
 * InitProducerId v4: a producer id, or with `transactionalId` the next epoch of that id, which fences who held it. With `current` the
 * epoch is raised only if it is still ours, so that a fenced producer cannot fence its successor.
 */
export function initProducerIdMessage(
  transactionalId: string | null,
  timeoutMs: number,
  current: ProducerIdentity = { producerId: -1n, epoch: -1 },
): Message<ProducerIdentity> {
  return {
    request: {
      apiKey: 22,
      apiVersion: 4,
      apiName: 'InitProducerId',
      encode: () =>
        Promise.resolve(
          new Encoder()
            .writeUVarInt(0) // tags of the request header
            .writeUVarIntString(transactionalId)
            .writeInt32(timeoutMs)
            .writeInt64(current.producerId)
            .writeInt16(current.epoch)
            .writeUVarInt(0),
        ),
    },
    response: {
      decode: (payload) => {
        const d = new Decoder(payload);
        d.readTaggedFields();
        d.readInt32(); // throttle
        const code = d.readInt16();
        if (code !== Code.NONE) return Promise.reject(new BrokerError(code, 'InitProducerId'));
        return Promise.resolve({ producerId: d.readInt64(), epoch: d.readInt16() });
      },
      parse: asIs,
    },
    logResponseError: false,
  };
}

export interface OffsetQuery {
  readonly topic: string;
  readonly partition: number;
  /** -1: the end (for a read-committed reader the last stable offset), -2: the beginning, else milliseconds. */
  readonly timestamp: number;
}
export interface OffsetAnswer {
  readonly topic: string;
  readonly partition: number;
  readonly code: number;
  /** -1 when no record is that young. */
  readonly offset: number;
}

/** ListOffsets v3. */
export function listOffsetsMessage(queries: readonly OffsetQuery[], readCommitted: boolean): Message<readonly OffsetAnswer[]> {
  return {
    request: {
      apiKey: 2,
      apiVersion: 3,
      apiName: 'ListOffsets',
      encode: () =>
        Promise.resolve(
          new Encoder()
            .writeInt32(-1) // not a replica
            .writeInt8(readCommitted ? 1 : 0)
            .writeArray(
              queries.map(({ topic, partition, timestamp }) =>
                new Encoder().writeString(topic).writeArray([new Encoder().writeInt32(partition).writeInt64(timestamp)]),
              ),
            ),
        ),
    },
    response: {
      decode: (payload) => {
        const d = new Decoder(payload);
        d.readInt32(); // throttle
        const answers: OffsetAnswer[] = [];
        d.readArray(() => {
          const topic = d.readString() ?? '';
          d.readArray(() => {
            const partition = d.readInt32();
            const code = d.readInt16();
            d.readInt64(); // timestamp
            answers.push({ topic, partition, code, offset: Number(d.readInt64()) });
          });
        });
        return Promise.resolve(answers);
      },
      parse: asIs,
    },
  };
}
