import { decode, encode } from '@msgpack/msgpack';
import { avroContentType, SpoolError, type Codec, type Encoder, type RecordSchema } from '@spool/schemas';

/** What an event says, as bytes. */
export interface Serializer {
  /** Goes with the bytes, so that whoever reads them knows how. */
  readonly contentType: string;
  /** @param name of the event @throws SpoolError SCHEMA_UNKNOWN (no schema for it), INVALID_PAYLOAD */
  dump(name: string, data: unknown): Uint8Array | Promise<Uint8Array>;
  /** @throws SpoolError RECORD_UNREADABLE, SCHEMA_UNKNOWN */
  load(bytes: Uint8Array): unknown;
}

/** @throws SpoolError INVALID_PAYLOAD from `dump` for what JSON cannot say */
export const jsonSerializer: Serializer = {
  contentType: 'application/json',
  dump(name, data) {
    const text = JSON.stringify(data) as string | undefined;
    if (text === undefined) throw new SpoolError('INVALID_PAYLOAD', `${name}: JSON cannot say ${typeof data}`);
    return Buffer.from(text);
  },
  load: (bytes) => readable('JSON', () => JSON.parse(Buffer.from(bytes).toString()) as unknown),
};

/** Smaller than JSON, and it has bytes, dates and undefined. */
export const messagePackSerializer: Serializer = {
  contentType: 'application/msgpack',
  dump: (_, data) => encode(data),
  load: (bytes) => readable('MessagePack', () => decode(bytes)),
};

/** Avro by the schemas that are declared here, in the wire format; the registry has them for `topic`. */
export function avroSerializer(codec: Codec, topic: string, schemas: Readonly<Record<string, RecordSchema<never>>>): Serializer {
  const encoders = new Map<string, Promise<Encoder<never>>>();
  return {
    contentType: avroContentType,
    async dump(name, data) {
      const schema = schemas[name];
      if (schema === undefined)
        throw new SpoolError(
          'SCHEMA_UNKNOWN',
          `no schema is declared for the event ${name}; there is one for ${Object.keys(schemas).join(', ')}`,
        );
      let encoder = encoders.get(name);
      if (encoder === undefined) {
        encoders.set(name, (encoder = codec.encoder(topic, schema)));
        encoder.catch(() => encoders.delete(name));
      }
      return (await encoder).encode(data as never);
    },
    load: async (bytes) => (await codec.decodeAny(Buffer.from(bytes))).json(),
  };
}

function readable<T>(format: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new SpoolError('RECORD_UNREADABLE', `not ${format}: ${(cause as Error).message}`, { cause });
  }
}
