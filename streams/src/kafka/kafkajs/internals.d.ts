/**
 * The parts of kafkajs 2.2.4 that the adapter uses. The package is frozen and has no exports map, so its inner modules can be imported;
 * it types its public face only, hence these declarations. We take its connections, its authentication and its protocol messages, and
 * leave its producer, consumer and cluster: those hide per-partition errors, look the coordinator up before every step of a transaction
 * and let one unknown topic fail every other.
 */
declare module 'kafkajs/src/broker/index.js' {
  import type { ConnectionPool } from 'kafkajs/src/cluster/connectionPoolBuilder.js';
  import type { Logger } from 'kafkajs/src/loggers/index.js';

  interface Request {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly apiName: string;
    /** kafkajs asks of what it gets here that it has `buf` and `buffer`. */
    encode(): Promise<{ readonly buf: Buffer; readonly buffer: Buffer }>;
  }
  export interface Message<Decoded, Parsed = Decoded> {
    readonly request: Request;
    readonly response: { decode(payload: Buffer): Promise<Decoded>; parse(decoded: Decoded): Promise<Parsed> };
    readonly requestTimeout?: number;
    /** kafkajs logs an error that the broker answers unless this is false. */
    readonly logResponseError?: boolean;
  }
  export interface TopicOffsets {
    readonly topic: string;
    readonly partitions: readonly { readonly partition: number; readonly offset: string; readonly metadata?: string | null }[];
  }
  export interface ConfigEntry {
    readonly configName: string;
    readonly configValue: string | null;
    /** 1: set on the topic itself; every other number is a default of some kind. */
    readonly configSource: number;
  }
  export default class Broker {
    constructor(options: {
      connectionPool: ConnectionPool;
      logger: Logger;
      nodeId?: number;
      authenticationTimeout?: number;
      allowAutoTopicCreation?: boolean;
    });
    nodeId: number | null;
    connectionPool: ConnectionPool;
    isConnected(): boolean;
    connect(): Promise<void>;
    findGroupCoordinator(request: {
      groupId: string;
      coordinatorType: 0 | 1;
    }): Promise<{ readonly coordinator: { readonly nodeId: number; readonly host: string; readonly port: number } }>;
    addPartitionsToTxn(request: {
      transactionalId: string;
      producerId: bigint;
      producerEpoch: number;
      topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[];
    }): Promise<void>;
    endTxn(request: { transactionalId: string; producerId: bigint; producerEpoch: number; transactionResult: boolean }): Promise<void>;
    syncGroup(request: {
      groupId: string;
      generationId: number;
      memberId: string;
      groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[];
    }): Promise<{ readonly memberAssignment: Buffer }>;
    heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<void>;
    leaveGroup(request: { groupId: string; memberId: string }): Promise<void>;
    offsetCommit(request: { groupId: string; groupGenerationId: number; memberId: string; topics: readonly TopicOffsets[] }): Promise<void>;
    offsetFetch(request: {
      groupId: string;
      topics: readonly { readonly topic: string; readonly partitions: readonly { readonly partition: number }[] }[];
    }): Promise<{ readonly responses: readonly TopicOffsets[] }>;
    listGroups(): Promise<{ readonly groups: readonly { readonly groupId: string }[] }>;
    createTopics(request: {
      topics: readonly {
        readonly topic: string;
        readonly numPartitions: number;
        readonly replicationFactor: number;
        readonly configEntries: readonly { readonly name: string; readonly value: string }[];
      }[];
      timeout: number;
    }): Promise<void>;
    deleteTopics(request: { topics: readonly string[]; timeout: number }): Promise<void>;
    describeConfigs(request: {
      resources: readonly { readonly type: number; readonly name: string }[];
    }): Promise<{ readonly resources: readonly { readonly resourceName: string; readonly configEntries: readonly ConfigEntry[] }[] }>;
    alterConfigs(request: {
      resources: readonly {
        readonly type: number;
        readonly name: string;
        readonly configEntries: readonly { readonly name: string; readonly value: string }[];
      }[];
    }): Promise<void>;
  }
}

declare module 'kafkajs/src/cluster/connectionPoolBuilder.js' {
  import type { Message } from 'kafkajs/src/broker/index.js';
  import type { Logger } from 'kafkajs/src/loggers/index.js';
  import type { Socket } from 'node:net';
  import type { ConnectionOptions } from 'node:tls';

  interface Connection {
    readonly socket?: Socket;
    readonly requestQueue: { rejectAll(error: Error): void };
    isConnected(): boolean;
    disconnect(): Promise<boolean>;
  }
  /** Two connections to one broker: the second is for fetches alone, which wait for data. Each connects at its first request. */
  export interface ConnectionPool {
    readonly host: string;
    readonly port: number;
    readonly pool: readonly Connection[];
    send<Decoded, Parsed>(message: Message<Decoded, Parsed>): Promise<Parsed>;
  }
  const connectionPoolBuilder: (options: {
    socketFactory: (target: { host: string; port: number; ssl: ConnectionOptions | undefined; onConnect: () => void }) => Socket;
    brokers: readonly string[];
    ssl: ConnectionOptions | undefined;
    sasl: { readonly mechanism: string; readonly username: string; readonly password: string } | undefined;
    clientId: string;
    connectionTimeout: number;
    requestTimeout: number;
    enforceRequestTimeout: boolean;
    logger: Logger;
  }) => { build(target: { host: string; port: number; rack?: string | null }): Promise<ConnectionPool> };
  export default connectionPoolBuilder;
}

declare module 'kafkajs/src/loggers/index.js' {
  export interface Logger {
    namespace(name: string): Logger;
  }
  export interface LogEntry {
    readonly log: { readonly message: string; readonly [field: string]: unknown };
  }
  const loggers: { createLogger(options: { level: number; logCreator: () => (entry: LogEntry) => void }): Logger };
  export default loggers;
}

declare module 'kafkajs/src/network/requestQueue/index.js' {
  export default class RequestQueue {
    constructor(options: {
      maxInFlightRequests: number | null;
      requestTimeout: number;
      enforceRequestTimeout: boolean;
      clientId: string;
      broker: string;
      logger: { debug(message: string): void };
      isConnected?: () => boolean;
    });
    pending: readonly unknown[];
    throttledUntil: number;
    throttleCheckTimeoutId: NodeJS.Timeout | null;
    checkPendingRequests(): void;
    scheduleCheckPendingRequests(): void;
    push(request: {
      entry: { correlationId: number; apiName: string; apiKey: number; apiVersion: number; resolve: () => void; reject: () => void };
      expectResponse: boolean;
      sendRequest: () => void;
    }): void;
    fulfillRequest(response: { correlationId: number; payload: Buffer; size: number }): void;
    destroy(): void;
  }
}

declare module 'kafkajs/src/protocol/encoder.js' {
  export default class Encoder {
    buf: Buffer;
    readonly buffer: Buffer;
    writeInt8(value: number): this;
    writeInt16(value: number): this;
    writeInt32(value: number): this;
    writeInt64(value: bigint | number | string): this;
    writeBoolean(value: boolean): this;
    writeString(value: string | null): this;
    writeUVarIntString(value: string | null): this;
    writeUVarInt(value: number): this;
    writeBytes(value: Buffer | null): this;
    writeArray(values: readonly (Encoder | string | number)[]): this;
    writeEncoder(value: Encoder): this;
  }
}

declare module 'kafkajs/src/protocol/decoder.js' {
  export default class Decoder {
    constructor(buffer: Buffer);
    offset: number;
    readInt8(): number;
    readInt16(): number;
    readInt32(): number;
    readInt64(): bigint;
    readBoolean(): boolean;
    readString(): string | null;
    readUVarInt(): number;
    readTaggedFields(): unknown;
    readArray<T>(read: (decoder: Decoder) => T): T[];
  }
}

declare module 'kafkajs/src/protocol/message/compression/index.js' {
  interface Codec {
    compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
    decompress(buffer: Buffer): Promise<Buffer>;
  }
  const compression: { readonly Types: Readonly<Record<string, number>>; readonly Codecs: Record<number, () => Codec> };
  export default compression;
}

declare module 'kafkajs/src/protocol/error.js' {
  const errors: { createErrorFromCode(code: number): Error & { readonly type: string; readonly retriable: boolean } };
  export default errors;
}

declare module 'kafkajs/src/protocol/requests/joinGroup/index.js' {
  import type { Message } from 'kafkajs/src/broker/index.js';

  interface Joined {
    readonly generationId: number;
    readonly leaderId: string;
    readonly memberId: string;
    /** Empty unless this member leads. */
    readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[];
  }
  const joinGroup: {
    protocol(options: {
      version: 5;
    }): (request: {
      groupId: string;
      sessionTimeout: number;
      rebalanceTimeout: number;
      memberId: string;
      protocolType: 'consumer';
      groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
    }) => Message<Joined>;
  };
  export default joinGroup;
}

declare module 'kafkajs/src/consumer/assignerProtocol.js' {
  const protocol: {
    readonly MemberMetadata: {
      encode(metadata: { version: number; topics: readonly string[]; userData: Buffer }): Buffer;
      decode(buffer: Buffer): { readonly version: number; readonly topics: readonly string[]; readonly userData: Buffer | null };
    };
    readonly MemberAssignment: {
      encode(assignment: { version: number; assignment: Readonly<Record<string, readonly number[]>>; userData: Buffer }): Buffer;
      decode(buffer: Buffer): { readonly assignment: Readonly<Record<string, readonly number[]>>; readonly userData: Buffer } | null;
    };
  };
  export default protocol;
}

declare module 'kafkajs/src/producer/partitioners/default/murmur2.js' {
  const murmur2: (key: Buffer | string) => number;
  export default murmur2;
}
