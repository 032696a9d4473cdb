import type { Type } from 'avsc';
import { SpoolError } from '../errors/spool-error.js';
import { invalidPayload, valueToJson } from '../avro/json.js';
import { isDefinition, fullNameOf, type AvroSchema, type RecordSchema } from '../avro/schema.js';
import { avroType, recordType } from '../avro/types.js';
import { violationsOf } from '../avro/violations.js';
import { unreadableParts } from '../compatibility/levels.js';
import type { Upcasters } from '../upcast/upcasters.js';
import { subjectOf, type SchemaRegistry } from './registry.js';
import { headerBytes, isFramed, schemaIdOf } from './wire.js';

export interface Encoder<T> {
  readonly schemaId: number;
  /**
   * The value in the Confluent wire format; null (a tombstone) stays null. Fields with a default may be undefined.
   * @throws SpoolError INVALID_PAYLOAD with a violation for everything that does not fit, undeclared fields too.
   */
  encode(value: T): Buffer;
  encode(value: T | null): Buffer | null;
}

export interface Decoder<T> {
  /**
   * The value, read by the decoder's schema whatever version wrote it: at once when the writer's schema is known, else a promise. Null
   * (a tombstone) stays null.
   * @throws SpoolError RECORD_UNREADABLE (not in the wire format, bytes that do not fit, a schema that cannot be read as this one),
   *   SCHEMA_UNKNOWN, UNAVAILABLE; as a rejection when it came with a promise.
   */
  decode(value: Buffer): T | Promise<T>;
  decode(value: Buffer | null): T | null | Promise<T>;
  /**
   * Whether what follows the header is as the decoder's schema has it, field by field, so that it may be read without a decoder. Known once a record
   * of the same writer has been decoded; false before.
   */
  isAsWritten(value: Buffer): boolean;
}

export interface DecodedRecord {
  readonly schemaId: number;
  /** Full name of the writer's type, or the name of a primitive. */
  readonly type: string;
  readonly schema: AvroSchema;
  /** As the writer's schema has it. */
  readonly value: unknown;
  /** The value as plain JSON: bytes in base64. */
  json(): unknown;
}

export interface Codec {
  /** Registers `<topic>-<full name>` once for each topic and schema; from then on encoding needs no call. @throws as `SchemaRegistry.register`. */
  encoder<T>(topic: string, schema: RecordSchema<T>): Promise<Encoder<T>>;
  /** What `encoder` has registered already, without a promise; undefined before. */
  readyEncoder<T>(topic: string, schema: RecordSchema<T>): Encoder<T> | undefined;
  /** One decoder for each schema, whatever topics it reads. */
  decoder<T>(schema: RecordSchema<T>): Decoder<T>;
  /** Reads by the writer's schema, for browsing. @throws as `Decoder.decode`. */
  decodeAny(value: Buffer): DecodedRecord | Promise<DecodedRecord>;
  /** The full name of what the value is read as: upcasters may end at another type than was written. @throws as `Decoder.decode`. Absent without upcasters */
  currentName?(value: Buffer): string | Promise<string>;
  /** A codec on the same registry whose decoders apply these, and no others. */
  withUpcasters(upcasters: Upcasters): Codec;
}

export interface CodecOptions {
  readonly registry: SchemaRegistry;
  /** Applied by decoders to what earlier types and versions wrote. @default none */
  readonly upcasters?: Upcasters;
}

interface Writer {
  readonly id: number;
  readonly schema: AvroSchema;
  readonly type: Type;
}
type Read<T> = (value: Buffer) => T;
type Resolver = ReturnType<Type['createResolver']>;

export function createCodec({ registry, upcasters }: CodecOptions): Codec {
  const writers = new Map<number, Writer>();
  const lookUps = new Map<number, Promise<Writer>>();
  const encoders = new Map<string, { readonly schema: RecordSchema<unknown>; readonly encoder: Promise<Encoder<never>> }>();
  const readyEncoders = new WeakMap<RecordSchema<unknown>, Map<string, Encoder<never>>>();
  const decoders = new WeakMap<RecordSchema<unknown>, Decoder<unknown>>();

  /** One look-up at a time for an id, and none once it is known. A failed one is not kept. */
  const lookUp = (id: number): Promise<Writer> => {
    let pending = lookUps.get(id);
    if (pending === undefined) {
      pending = registry
        .schemaById(id)
        .then((schema) => {
          const writer = { id, schema, type: avroType(schema) };
          writers.set(id, writer);
          return writer;
        })
        .finally(() => lookUps.delete(id));
      lookUps.set(id, pending);
    }
    return pending;
  };

  return {
    encoder<T>(topic: string, schema: RecordSchema<T>): Promise<Encoder<T>> {
      const subject = subjectOf(topic, schema.fullName);
      const known = encoders.get(subject);
      if (known?.schema === schema) return known.encoder;
      const encoder = registry.register(subject, schema.schema).then((id) => {
        const made = createEncoder(schema, id);
        const byTopic = readyEncoders.get(schema) ?? new Map<string, Encoder<never>>();
        readyEncoders.set(schema, byTopic.set(topic, made));
        return made;
      });
      encoders.set(subject, { schema, encoder: encoder });
      encoder.catch(() => encoders.delete(subject));
      return encoder;
    },
    readyEncoder: <T>(topic: string, schema: RecordSchema<T>) => readyEncoders.get(schema)?.get(topic),
    decoder<T>(schema: RecordSchema<T>): Decoder<T> {
      const known = decoders.get(schema);
      if (known !== undefined) return known as Decoder<T>;
      recordType(schema); // a schema that is not valid is refused here, not at the first record
      const readers = new Map<number, Read<T>>();
      const asWritten = new Set<number>();
      const readerOf = (writer: Writer): Read<T> => {
        if (upcasters === undefined && recordType(schema).equals(writer.type)) asWritten.add(writer.id);
        const read = createRead(schema, writer, upcasters);
        readers.set(writer.id, read);
        return read;
      };
      const decode = (value: Buffer | null): T | null | Promise<T> => {
        if (value === null) return null;
        const id = schemaIdOf(value);
        const read = readers.get(id);
        if (read !== undefined) return read(value);
        const writer = writers.get(id);
        return writer === undefined ? lookUp(id).then((found) => readerOf(found)(value)) : readerOf(writer)(value);
      };
      const isAsWritten = (value: Buffer): boolean => isFramed(value) && asWritten.has(value.readUInt32BE(1));
      const decoder = { decode, isAsWritten } as Decoder<T>;
      decoders.set(schema, decoder);
      return decoder;
    },
    decodeAny(value: Buffer): DecodedRecord | Promise<DecodedRecord> {
      const id = schemaIdOf(value);
      const writer = writers.get(id);
      return writer === undefined ? lookUp(id).then((found) => readAny(found, value)) : readAny(writer, value);
    },
    ...(upcasters === undefined
      ? {}
      : {
          currentName(value: Buffer): string | Promise<string> {
            const id = schemaIdOf(value);
            const writer = writers.get(id);
            const nameFrom = ({ schema }: Writer): string => upcasters.currentName(nameOf(schema));
            return writer === undefined ? lookUp(id).then(nameFrom) : nameFrom(writer);
          },
        }),
    withUpcasters: (other) => createCodec({ registry, upcasters: other }),
  };
}

/** Values are written here first, as their size is not known before. It grows with the largest value, up to `scratchLimit`. */
let scratch = Buffer.allocUnsafeSlow(64 * 1024);
const scratchLimit = 1024 * 1024;

function createEncoder<T>(schema: RecordSchema<T>, schemaId: number): Encoder<T> {
  const type = recordType(schema);
  const encode = (value: T | null): Buffer | null => {
    if (value === null) return null;
    if (!type.isValid(value, { noUndeclaredFields: true })) throw invalidPayload(schema.fullName, violationsOf(type, value));
    let target = scratch;
    let end = type.encode(value, target, headerBytes);
    if (end < 0) {
      // avsc then gives the number of missing bytes as a negative number.
      target = Buffer.allocUnsafeSlow(target.length - end);
      if (target.length <= scratchLimit) scratch = target;
      end = type.encode(value, target, headerBytes);
    }
    target[0] = 0;
    target.writeUInt32BE(schemaId, 1);
    return Buffer.from(target.subarray(0, end));
  };
  return { schemaId, encode } as Encoder<T>;
}

/**
 * The value as whoever reads it from Kafka has it: written and read again, with no registry.
 * @throws SpoolError INVALID_PAYLOAD with a violation for everything that does not fit
 */
export const roundTrip = <T>(schema: RecordSchema<T>, value: T): T =>
  readWith(recordType(schema), createEncoder(schema, 0).encode(value), schema.fullName, 0) as T;

/** How to read what this writer wrote as `reader`: by Avro's resolution, or by it and then upcasters. */
function createRead<T>(reader: RecordSchema<T>, writer: Writer, upcasters: Upcasters | undefined): Read<T> {
  const version = isDefinition(writer.schema) ? (writer.schema.version ?? 1) : 1;
  const [first, ...more] = upcasters?.chain({ fullName: nameOf(writer.schema), version }, reader) ?? [];
  if (first === undefined) return createResolvedRead(reader, writer);
  const read = createResolvedRead(first.from, writer);
  return (value) => {
    let upcast: unknown = first.up(read(value));
    for (const step of more) upcast = step.up(upcast);
    return upcast as T;
  };
}

/** The resolver is built here, once, since building one costs hundreds of decodes. */
function createResolvedRead<T>(reader: RecordSchema<T>, writer: Writer): Read<T> {
  const type = recordType(reader);
  if (type.equals(writer.type)) return (value) => readWith(type, value, reader.fullName, writer.id) as T;
  let resolver: Resolver;
  try {
    resolver = resolverOf(type, writer.type);
  } catch (cause) {
    const why = whyUnreadable(reader.schema, writer.schema) || (cause as Error).message;
    const message = `Schema ${writer.id} (${nameOf(writer.schema)}) cannot be read as ${reader.fullName}: ${why}`;
    return () => {
      throw new SpoolError('RECORD_UNREADABLE', message, { cause });
    };
  }
  return (value) => readWith(type, value, reader.fullName, writer.id, resolver) as T;
}

/** Names match in full or, as the specification and the registry's compatibility check have it, without their namespaces. */
function resolverOf(reader: Type, writer: Type): Resolver {
  try {
    return reader.createResolver(writer);
  } catch {
    return reader.createResolver(writer, { ignoreNamespaces: true });
  }
}

function whyUnreadable(reader: AvroSchema, writer: AvroSchema): string {
  try {
    return unreadableParts(reader, writer).join('; ');
  } catch {
    return ''; // avsc takes schemas that are not valid Avro
  }
}

function readAny(writer: Writer, value: Buffer): DecodedRecord {
  const type = nameOf(writer.schema);
  const decoded = readWith(writer.type, value, type, writer.id);
  return { schemaId: writer.id, type, schema: writer.schema, value: decoded, json: () => valueToJson(writer.type, decoded) };
}

function readWith(type: Type, value: Buffer, name: string, id: number, resolver?: Resolver): unknown {
  let decoded: { value: unknown; offset: number };
  try {
    decoded = type.decode(value, headerBytes, resolver);
  } catch (cause) {
    throw unreadable(name, id, (cause as Error).message, cause);
  }
  if (decoded.offset < 0) throw unreadable(name, id, `it ends too early, at ${value.length} bytes`);
  if (decoded.offset < value.length) throw unreadable(name, id, `${value.length - decoded.offset} bytes are left over`);
  return decoded.value;
}

const unreadable = (name: string, id: number, why: string, cause?: unknown): SpoolError =>
  new SpoolError('RECORD_UNREADABLE', `Bytes are not a ${name} as schema ${id} has it: ${why}`, { cause });

function nameOf(schema: AvroSchema): string {
  if (typeof schema === 'string') return schema;
  if (!isDefinition(schema)) return 'union';
  if (schema.name !== undefined) return fullNameOf({ ...schema, name: schema.name });
  return typeof schema.type === 'string' ? schema.type : 'union';
}
