import avro from 'avsc';
import fc from 'fast-check';
import type { SpoolError } from '../errors/spool-error.js';
import type { AvroSchema, RecordSchema } from '../avro/schema.js';
import { platformSchemas, SpanSchema } from '../generated/index.js';
import { arrayOf, enumOf, optional, record, withDefault } from '../inline/record.js';
import { valuesOf } from '../testing/arbitrary.js';
import { createCodec } from './codec.js';
import { createMemoryRegistry } from './memory-registry.js';
import type { SchemaRegistry } from './registry.js';
import { schemaIdOf } from './wire.js';

const Parcel = record('acme.Parcel', { id: 'string', grams: 'long', seal: optional('bytes'), stops: arrayOf('string') });
const parcel = { id: 'p1', grams: 1200, seal: Buffer.from('x'), stops: ['LAX', 'SFO'] };

/** A registry that counts its calls. */
function counted(
  registry: SchemaRegistry = createMemoryRegistry(),
): SchemaRegistry & { readonly calls: Record<'register' | 'schemaById', number> } {
  const calls = { register: 0, schemaById: 0 };
  return {
    ...registry,
    calls,
    register: (subject, schema) => (calls.register++, registry.register(subject, schema)),
    schemaById: (id) => (calls.schemaById++, registry.schemaById(id)),
  };
}
function thrownBy(run: () => unknown): SpoolError {
  try {
    run();
  } catch (thrown) {
    return thrown as SpoolError;
  }
  throw new Error('nothing was thrown');
}
const codeOf = (run: () => unknown): string => {
  const { code, message } = thrownBy(run);
  return `${code}: ${message}`;
};

describe('an encoder', () => {
  it('writes the Confluent wire format', async () => {
    const encoder = await createCodec({ registry: createMemoryRegistry() }).encoder('evt.Parcel', Parcel);
    const bytes = encoder.encode({ ...parcel, seal: null, stops: [] });
    expect(bytes).toEqual(Buffer.from([0, 0, 0, 0, encoder.schemaId, 4, 0x70, 0x31, 0xe0, 0x12, 0, 0]));
  });

  it('registers <topic>-<full name> once, however often and at once it is asked for', async () => {
    const registry = counted();
    const codec = createCodec({ registry });
    await Promise.all([codec.encoder('evt.Parcel', Parcel), codec.encoder('evt.Parcel', Parcel), codec.encoder('evt.Other', Parcel)]);
    await codec.encoder('evt.Parcel', Parcel);
    expect(registry.calls.register).toBe(2);
    expect(await registry.subjects()).toEqual(['evt.Other-acme.Parcel', 'evt.Parcel-acme.Parcel']);
  });

  it('is asked for again after the registry was away', async () => {
    const registry = createMemoryRegistry();
    let away = true;
    const codec = createCodec({
      registry: { ...registry, register: (...of) => (away ? Promise.reject(new Error('away')) : registry.register(...of)) },
    });
    await expect(codec.encoder('t', Parcel)).rejects.toThrow('away');
    away = false;
    expect((await codec.encoder('t', Parcel)).schemaId).toBe(1);
  });

  it('lets a tombstone be', async () => {
    expect((await createCodec({ registry: createMemoryRegistry() }).encoder('t', Parcel)).encode(null)).toBeNull();
  });

  it('refuses what does not fit, with pointers', async () => {
    const encoder = await createCodec({ registry: createMemoryRegistry() }).encoder('t', Parcel);
    const wrong = { id: 1, grams: 2 ** 53, seal: 'x', stops: ['a', null] } as unknown as typeof parcel;
    expect(codeOf(() => encoder.encode(wrong))).toBe(
      'INVALID_PAYLOAD: Payload does not fit acme.Parcel: /id: expected string, got 1 (and 3 more)',
    );
    expect(thrownBy(() => encoder.encode(wrong)).violations).toEqual([
      { pointer: '/id', message: 'expected string, got 1' },
      { pointer: '/grams', message: 'expected long (a whole number within ±(2^53 - 1)), got 9007199254740992' },
      { pointer: '/seal', message: 'expected bytes or null, got the string "x"' },
      { pointer: '/stops/1', message: 'expected string, got null' },
    ]);
  });

  it('refuses fields that the schema does not declare', async () => {
    const encoder = await createCodec({ registry: createMemoryRegistry() }).encoder('t', Parcel);
    const more = { ...parcel, colour: 'red' };
    expect(() => encoder.encode(more)).toThrow('/colour: colour is not a field of acme.Parcel, which has id, grams, seal, stops');
  });

  it('writes values larger than its scratch space, and then small ones', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const encoder = await codec.encoder('t', Parcel);
    const decoder = codec.decoder(Parcel);
    for (const size of [10, 65_531, 65_536, 300_000, 3_000_000, 10]) {
      const value = { ...parcel, id: 'x'.repeat(size) };
      expect(await decoder.decode(encoder.encode(value))).toEqual(value);
    }
  });

  it('gives bytes that later calls leave alone', async () => {
    const encoder = await createCodec({ registry: createMemoryRegistry() }).encoder('t', Parcel);
    const first = encoder.encode(parcel);
    const copy = Buffer.from(first);
    encoder.encode({ ...parcel, id: 'another' });
    expect(first).toEqual(copy);
  });
});

describe('a decoder', () => {
  it.each(platformSchemas.map((schema) => [schema.fullName, schema] as const))('gives back what was encoded: %s', async (_, schema) => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const encoder = await codec.encoder('t', schema);
    await fc.assert(
      fc.asyncProperty(valuesOf(schema), async (value) => {
        expect(await codec.decoder(schema).decode(encoder.encode(value as never))).toEqual(value);
      }),
      { numRuns: 50 },
    );
  });

  it('answers at once when it knows the writer, and asks once when it does not', async () => {
    const registry = counted();
    const bytes = (await createCodec({ registry }).encoder('t', Parcel)).encode(parcel);
    const decoder = createCodec({ registry }).decoder(Parcel);
    const first = [decoder.decode(bytes), decoder.decode(bytes)];
    expect(first[0]).toBeInstanceOf(Promise);
    expect(await Promise.all(first.map(async (value) => value))).toEqual([parcel, parcel]);
    expect(decoder.decode(bytes)).toEqual(parcel);
    expect(registry.calls.schemaById).toBe(1);
  });

  it('lets a tombstone be', () => {
    expect(createCodec({ registry: createMemoryRegistry() }).decoder(Parcel).decode(null)).toBeNull();
  });

  it('builds one resolver for 10,000 records of an older writer', async () => {
    const registry = createMemoryRegistry();
    const Newer = record('acme.Parcel', {
      id: 'string',
      grams: 'long',
      seal: optional('bytes'),
      stops: arrayOf('string'),
      fragile: withDefault('boolean', true),
    });
    const bytes = (await createCodec({ registry }).encoder('t', Parcel)).encode(parcel);
    const decoder = createCodec({ registry }).decoder(Newer);
    const original = avro.Type.prototype.createResolver;
    let built = 0;
    avro.Type.prototype.createResolver = function (...of) {
      if (this.name === 'acme.Parcel') built++;
      return original.apply(this, of);
    };
    try {
      for (let count = 0; count < 10_000; count++) {
        const value = await decoder.decode(bytes);
        if (count % 1_000 === 0) expect(value).toEqual({ ...parcel, fragile: true });
      }
    } finally {
      avro.Type.prototype.createResolver = original;
    }
    expect(built).toBe(1);
  });

  it('reads what newer and older versions wrote', async () => {
    const V1 = record('acme.Seat', { row: 'int', kind: enumOf('unknown', 'aisle') });
    const V2 = record('acme.Seat', { row: 'long', kind: enumOf('unknown', 'aisle', 'window'), note: optional('string') });
    const registry = createMemoryRegistry({ compatibility: 'NONE' });
    const codec = createCodec({ registry });
    const older = (await codec.encoder('a', V1)).encode({ row: 1, kind: 'aisle' });
    expect(await codec.decoder(V2).decode(older)).toEqual({ row: 1, kind: 'aisle', note: null });
    const V1Long = record('acme.Seat', { row: 'long', kind: enumOf('unknown', 'aisle') });
    const newer = (await codec.encoder('b', V2)).encode({ row: 1, kind: 'window', note: 'x' });
    expect(await codec.decoder(V1Long).decode(newer)).toEqual({ row: 1, kind: 'unknown' });
  });

  it('says what is wrong with bytes that it cannot read', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const bytes = (await codec.encoder('t', Parcel)).encode(parcel);
    const decoder = codec.decoder(Parcel);
    await decoder.decode(bytes);
    expect(codeOf(() => decoder.decode(Buffer.from('{"id":1}')))).toBe(
      'RECORD_UNREADABLE: Not in the Confluent wire format: 8 bytes that begin with 0x7b22696422',
    );
    expect(codeOf(() => decoder.decode(bytes.subarray(0, 3)))).toContain('RECORD_UNREADABLE: Not in the Confluent wire format: 3 bytes');
    expect(codeOf(() => decoder.decode(bytes.subarray(0, -4)))).toContain(
      'RECORD_UNREADABLE: Bytes are not a acme.Parcel as schema 1 has it: ',
    );
    expect(codeOf(() => decoder.decode(Buffer.concat([bytes, Buffer.from('xy')])))).toContain('2 bytes are left over');
    const Big = {
      fullName: 'acme.Big',
      schema: { type: 'record', name: 'acme.Big', fields: [{ name: 'n', type: 'long' }] },
    } as const satisfies RecordSchema<unknown>;
    const big = Buffer.from((await codec.encoder('t', Big as RecordSchema<{ n: number }>)).encode({ n: 2 ** 53 - 1 }));
    await codec.decoder(Big).decode(big);
    const beyond = Buffer.concat([big.subarray(0, 5), Buffer.from('8080808080808020', 'hex')]); // 2^53
    expect(codeOf(() => codec.decoder(Big).decode(beyond))).toContain('it holds a long beyond ±(2^53 - 1)');
  });

  it('never hangs or fails otherwise on damaged bytes', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    for (const schema of platformSchemas) {
      const encoder = await codec.encoder('t', schema);
      const decoder = codec.decoder(schema);
      const damaged = fc.tuple(valuesOf(schema), fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat());
      await fc.assert(
        fc.asyncProperty(damaged, async ([value, at, byte, cut]) => {
          const bytes = Buffer.from(encoder.encode(value as never));
          bytes[5 + (at % Math.max(1, bytes.length - 5))] = byte;
          const tried = [bytes, bytes.subarray(0, 5 + (cut % (bytes.length - 4)))];
          for (const each of tried) {
            try {
              await decoder.decode(each);
            } catch (thrown) {
              expect((thrown as SpoolError).code).toBe('RECORD_UNREADABLE');
            }
          }
        }),
        { numRuns: 30 },
      );
    }
  });

  it('says which fields keep it from reading another type', async () => {
    const codec = createCodec({ registry: createMemoryRegistry({ compatibility: 'NONE' }) });
    const bytes = (await codec.encoder('t', Parcel)).encode(parcel);
    const Stricter = record('acme.Parcel', { id: 'string', grams: 'int', owner: 'string' });
    await expect(codec.decoder(Stricter).decode(bytes)).rejects.toThrow(
      "Schema 1 (acme.Parcel) cannot be read as acme.Parcel: The type (path '/fields/1/type') of a field in the reader schema does not match " +
        "with the writer schema: reader type: INT not compatible with writer type: LONG; The field 'owner' at path '/fields/2' in the reader " +
        'schema has no default value and is missing in the writer schema',
    );
    expect(() => codec.decoder(SpanSchema).decode(bytes)).toThrow(
      "cannot be read as spool.Span: The name of the schema has changed (path '/name'): expected: acme.Parcel",
    );
  });

  it('reads what the registry takes as the next version: a type that moved to another namespace', async () => {
    const registry = createMemoryRegistry();
    const trip = (namespace: string) => {
      const Leg = record(`${namespace}.Leg`, { to: 'string' });
      return record('acme.Trip', { first: Leg, last: optional(Leg), all: arrayOf(Leg) });
    };
    const value = { first: { to: 'SFO' }, last: { to: 'LAX' }, all: [{ to: 'JFK' }] };
    const bytes = (await createCodec({ registry }).encoder('t', trip('acme.old'))).encode(value);
    const moved = createCodec({ registry });
    await moved.encoder('t', trip('acme.moved'));
    expect(await moved.decoder(trip('acme.moved')).decode(bytes)).toEqual(value);
  });

  it('asks again for a schema that the registry did not know', async () => {
    const registry = counted();
    const decoder = createCodec({ registry }).decoder(Parcel);
    const bytes = Buffer.from([0, 0, 0, 0, 1, 0]);
    await expect(decoder.decode(bytes)).rejects.toMatchObject({ code: 'SCHEMA_UNKNOWN' });
    await registry.register('t', Parcel.schema);
    await expect(decoder.decode(bytes)).rejects.toMatchObject({ code: 'RECORD_UNREADABLE' });
    expect(registry.calls.schemaById).toBe(2);
  });
});

describe('decodeAny', () => {
  it('reads by the schema of the writer', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const bytes = (await codec.encoder('t', Parcel)).encode(parcel);
    const read = await codec.decodeAny(bytes);
    expect({ ...read, json: read.json() }).toEqual({
      schemaId: schemaIdOf(bytes),
      type: 'acme.Parcel',
      schema: Parcel.schema,
      value: parcel,
      json: { ...parcel, seal: 'eA==' },
    });
    expect(codec.decodeAny(bytes)).not.toBeInstanceOf(Promise);
  });

  it.each<[string, AvroSchema, string, unknown]>([
    ['a primitive', 'string', 'string', 'x'],
    ['a primitive as an object', { type: 'long' }, 'long', 7],
    ['a union', ['null', 'string'], 'union', 'x'],
    ['a decimal, as its bytes', { type: 'bytes', logicalType: 'decimal' }, 'bytes', Buffer.from([1, 2])],
  ])('reads foreign schemas: %s', async (_, schema, type, value) => {
    const registry = createMemoryRegistry();
    const id = await registry.register('t-value', schema);
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), avro.Type.forSchema(schema as never).toBuffer(value)]);
    expect(await createCodec({ registry }).decodeAny(bytes)).toMatchObject({ type, value });
  });
});
