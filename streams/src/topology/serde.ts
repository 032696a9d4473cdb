import { SpoolError, type Codec, type RecordSchema } from '@spool/schemas';

/** How values of one type stand in a record. */
export interface Serde<T> {
  encode(value: T): Buffer;
  /** @throws for bytes that are none of its own: the record is parked */
  decode(bytes: Buffer): T | Promise<T>;
}

/** A serde that needs the schema registry before it can be used. */
export interface SchemaSerde<T> {
  /** @throws SpoolError INVALID_CONFIG without a codec, and as `Codec.encoder` */
  open(codec: Codec | undefined, topic: string): Promise<Serde<T>>;
}
export type ValueSerde<T> = Serde<T> | SchemaSerde<T>;

/** Keys are also keys of stores, where they stand in the order of their text. */
export interface KeySerde<T> extends Serde<T> {
  decode(bytes: Buffer): T;
  toText(key: T): string;
  fromText(text: string): T;
}

/** A key serde whose text is its bytes, one character each: same order, any content. */
export const keySerde = <T>(encode: (key: T) => Buffer, decode: (bytes: Buffer) => T): KeySerde<T> => ({
  encode,
  decode,
  toText: (key) => encode(key).toString('latin1'),
  fromText: (text) => decode(Buffer.from(text, 'latin1')),
});

export const string: KeySerde<string> = {
  encode: (text) => Buffer.from(text),
  decode: (bytes) => bytes.toString(),
  toText: (text) => text,
  fromText: (text) => text,
};

export const bytes: KeySerde<Buffer> = keySerde(
  (value) => value,
  (value) => value,
);

/** A whole number in eight bytes, big end first, as Kafka's LongSerializer has it. */
export const long: KeySerde<number> = keySerde(
  (value) => {
    if (!Number.isSafeInteger(value)) throw new SpoolError('INVALID_PAYLOAD', `${value} is not a whole number within 2^53`);
    const buffer = Buffer.allocUnsafe(8);
    buffer.writeBigInt64BE(BigInt(value));
    return buffer;
  },
  (buffer) => {
    if (buffer.length !== 8) throw new SpoolError('RECORD_UNREADABLE', `a long has 8 bytes, not ${buffer.length}`);
    const value = Number(buffer.readBigInt64BE());
    if (!Number.isSafeInteger(value)) throw new SpoolError('RECORD_UNREADABLE', `${buffer.readBigInt64BE()} is beyond 2^53`);
    return value;
  },
);

export const json = <T>(): Serde<T> => ({
  encode: (value) => Buffer.from(JSON.stringify(value)),
  decode: (buffer) => JSON.parse(buffer.toString()) as T,
});

/** Avro by contract, in Confluent wire format; the writer's schema is registered for the topic at the start. */
export const avro = <T>(schema: RecordSchema<T>): SchemaSerde<T> => ({
  async open(codec, topic) {
    if (codec === undefined) throw new SpoolError('INVALID_CONFIG', `the values of ${topic} are Avro and need a codec`);
    const encoder = await codec.encoder(topic, schema);
    const decoder = codec.decoder(schema);
    return { encode: (value) => encoder.encode(value), decode: (buffer) => decoder.decode(buffer) };
  },
});

/** A key in one window. */
export interface Windowed<K> {
  readonly key: K;
  /** Milliseconds since the epoch, inclusive. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** As Kafka Streams has it: the bytes of the key, then the start of the window as a long. */
export const windowed = <K>(key: KeySerde<K>, sizeMs: number): KeySerde<Windowed<K>> =>
  keySerde(
    ({ key: of, start }) => Buffer.concat([key.encode(of), long.encode(start)]),
    (buffer) => {
      const at = buffer.length - 8;
      const start = long.decode(buffer.subarray(at));
      return { key: key.decode(buffer.subarray(0, at)), start, end: start + sizeMs };
    },
  );
