import { SpoolError, type Codec, type RecordSchema } from '@spool/schemas';

/** How keys or values of a type become bytes. */
export interface Encodes<T> {
  readonly encode: (value: T) => Buffer;
  /** For what needs the schema registry: called once for each topic (or changelog) before the first record. */
  readonly open?: (codec: Codec, topic: string) => Promise<Encodes<T>>;
}

/** To bytes and back. A type that includes null says so by `nullable`; null itself has no bytes. */
export interface Serde<T> extends Encodes<NonNullable<T>> {
  /** A promise only while something is looked up that is needed once. @throws SpoolError RECORD_UNREADABLE */
  readonly decode: (bytes: Buffer) => T | Promise<T>;
  /** A source takes null for a value of the type; otherwise a record without it is parked. */
  readonly nullable?: true;
  /** Its bytes are UTF-8 text, which keys of stores then show as it is. */
  readonly text?: true;
  readonly open?: (codec: Codec, topic: string) => Promise<Serde<T>>;
}

export const string: Serde<string> = { encode: (value) => Buffer.from(value), decode: (bytes) => bytes.toString(), text: true };

/** The bytes as they are; what is decoded is a view of the fetched answer. */
export const bytes: Serde<Buffer> = { encode: (value) => value, decode: (value) => value };

/** JSON text. The type is taken on trust: whoever writes to the topic has to keep to it. */
export const json = <T>(): Serde<T> => ({
  encode: (value) => {
    const text = JSON.stringify(value) as string | undefined;
    if (text === undefined) throw new SpoolError('INVALID_PAYLOAD', `a ${typeof value} is not JSON`);
    return Buffer.from(text);
  },
  decode: (value) => {
    try {
      return JSON.parse(value.toString()) as T;
    } catch (cause) {
      throw new SpoolError('RECORD_UNREADABLE', `not JSON: ${(cause as Error).message}`, { cause });
    }
  },
  text: true,
});

const high = 2 ** 32;
/** A whole number within ±(2^53 - 1) in 8 bytes, as Kafka's LongSerializer writes it. */
export const long: Serde<number> = {
  encode: (value) => {
    if (!Number.isSafeInteger(value)) throw new SpoolError('INVALID_PAYLOAD', `${value} is not a whole number within ±(2^53 - 1)`);
    const encoded = Buffer.allocUnsafe(8);
    encoded.writeInt32BE(Math.floor(value / high), 0);
    encoded.writeUInt32BE(value >>> 0, 4);
    return encoded;
  },
  decode: (encoded) => {
    if (encoded.length !== 8) throw new SpoolError('RECORD_UNREADABLE', `a long has 8 bytes, not ${encoded.length}`);
    const value = encoded.readInt32BE(0) * high + encoded.readUInt32BE(4);
    if (!Number.isSafeInteger(value)) throw new SpoolError('RECORD_UNREADABLE', `${encoded.readBigInt64BE()} is beyond ±(2^53 - 1)`);
    return value;
  },
};

/** Avro by contract, in the Confluent wire format; registered for each topic that it is written to. */
export function avro<T>(schema: RecordSchema<T>): Serde<T> {
  const notOpen = (): never => {
    throw new SpoolError('INVALID_CONFIG', `the serde of ${schema.fullName} is used outside a running topology`);
  };
  return {
    encode: notOpen,
    decode: notOpen,
    open: async (codec, topic) => {
      const encoder = await codec.encoder(topic, schema);
      const decoder = codec.decoder(schema);
      return { encode: (value) => encoder.encode(value), decode: (encoded) => decoder.decode(encoded) };
    },
  };
}

/** The type with null: a source hands on records without this part, and does not park them. */
export function nullable<T>(serde: Serde<T>): Serde<T | null> {
  const { open } = serde;
  const nulls = { ...serde, nullable: true } as unknown as Serde<T | null>;
  return open === undefined ? nulls : { ...nulls, open: async (codec, topic) => nullable(await open(codec, topic)) };
}

/** Serdes within the graph, where types no longer matter. */
export interface AnySerde {
  readonly encode: (value: unknown) => Buffer;
  readonly decode: (bytes: Buffer) => unknown;
  readonly nullable?: true;
  readonly text?: true;
  readonly open?: (codec: Codec, topic: string) => Promise<AnySerde>;
}
export const untyped = <T>(serde: Encodes<T>): AnySerde => serde as unknown as AnySerde;

export const openSerde = async <S extends { readonly open?: (codec: Codec, topic: string) => Promise<S> }>(
  serde: S,
  codec: Codec,
  topic: string,
): Promise<S> => (serde.open === undefined ? serde : await serde.open(codec, topic));

/** For rows of a store, which are read while a record is handled. @throws SpoolError UNAVAILABLE, and is ready when it is tried again */
export function decodeNow(serde: AnySerde, encoded: Buffer): unknown {
  const value = serde.decode(encoded);
  if (!(value instanceof Promise)) return value;
  value.catch(() => undefined);
  throw new SpoolError('UNAVAILABLE', 'the schema of a stored row is being fetched');
}

export interface KeyValue<K, V> {
  readonly key: Serde<K>;
  readonly value: Serde<V>;
}
