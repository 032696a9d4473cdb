import fc from 'fast-check';
import type { PayloadOf } from '../avro/schema.js';
import { createCodec, type Encoder } from '../codec/codec.js';
import { createMemoryRegistry } from '../codec/memory-registry.js';
import { valuesOf } from '../testing/arbitrary.js';
import { arrayOf, doc, enumOf, mapOf, optional, record, withDefault } from './record.js';

const Stop = record('acme.Stop', { airport: 'string', kind: enumOf('unknown', 'fuel', 'crew') });
const FlightScheduled = record(
  'acme.FlightScheduled',
  {
    flightNo: doc('As the airline prints it.', 'string'),
    at: 'timestamp',
    distance: 'int',
    note: optional(doc('Free text.', 'string')),
    stops: arrayOf(Stop),
    last: optional(Stop),
    fares: mapOf(arrayOf('double')),
    seal: withDefault('bytes', Buffer.from([255])),
    cabin: withDefault(enumOf('unknown', 'economy'), 'economy'),
    open: 'boolean',
    weight: 'float',
    seats: 'long',
  },
  { doc: 'A flight was planned.', version: 2 },
);
type FlightScheduled = PayloadOf<typeof FlightScheduled>;

const flight: FlightScheduled = {
  flightNo: 'AA 1',
  at: 1,
  distance: 337,
  note: null,
  stops: [{ airport: 'LAX', kind: 'fuel' }],
  last: null,
  fares: { eco: [1.5] },
  seal: Buffer.alloc(1),
  cabin: 'economy',
  open: true,
  weight: 1,
  seats: 3,
};

describe('record', () => {
  it('makes an Avro schema of a literal', () => {
    const { name, namespace, doc: text, version, fields } = FlightScheduled.schema;
    const field = (wanted: string): unknown => fields.find((each) => each.name === wanted);
    expect({ name, namespace, doc: text, version }).toEqual({
      name: 'FlightScheduled',
      namespace: 'acme',
      doc: 'A flight was planned.',
      version: 2,
    });
    expect(field('flightNo')).toEqual({ name: 'flightNo', type: 'string', doc: 'As the airline prints it.' });
    expect(field('at')).toEqual({ name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } });
    expect(field('note')).toEqual({ name: 'note', type: ['null', 'string'], doc: 'Free text.', default: null });
    expect(field('last')).toEqual({ name: 'last', type: ['null', 'acme.Stop'], default: null });
    expect(field('seal')).toEqual({ name: 'seal', type: 'bytes', default: '\u00ff' });
    expect(field('cabin')).toEqual({
      name: 'cabin',
      type: { type: 'enum', name: 'FlightScheduledCabin', namespace: 'acme', symbols: ['unknown', 'economy'], default: 'unknown' },
      default: 'economy',
    });
  });

  it('infers the type of its values, so that a wrong payload does not compile', () => {
    const use = (encoder: Encoder<FlightScheduled>): readonly unknown[] => [
      encoder.encode(flight),
      // @ts-expect-error a string is not a number
      encoder.encode({ ...flight, distance: '337' }),
      // @ts-expect-error not one of the words
      encoder.encode({ ...flight, cabin: 'first' }),
      // @ts-expect-error null is for optional fields
      encoder.encode({ ...flight, flightNo: null }),
      // @ts-expect-error a field is missing
      encoder.encode({ flightNo: 'AA 1' }),
      // @ts-expect-error no such field
      encoder.encode({ ...flight, colour: 'red' }),
      // @ts-expect-error nested: not one of the words
      encoder.encode({ ...flight, stops: [{ airport: 'LAX', kind: 'rest' }] }),
    ];
    expect(use({ schemaId: 1, encode: () => Buffer.alloc(0) })).toHaveLength(7);
  });

  it('has values that come back as they went', async () => {
    const codec = createCodec({ registry: createMemoryRegistry() });
    const encoder = await codec.encoder('evt.Flight', FlightScheduled);
    await fc.assert(
      fc.asyncProperty(valuesOf(FlightScheduled), async (value) => {
        expect(await codec.decoder(FlightScheduled).decode(encoder.encode(value))).toEqual(value);
      }),
    );
  });

  it('writes a record that occurs in several others out once', () => {
    const Leg = record('acme.Leg', { from: Stop, to: Stop });
    const Trip = record('acme.Trip', { first: Stop, legs: arrayOf(Leg), same: Leg });
    expect(JSON.stringify(Trip.schema).match(/"name":"Stop"/g)).toHaveLength(1);
    expect(JSON.stringify(Trip.schema).match(/"name":"Leg"/g)).toHaveLength(1);
  });

  it.each<[string, () => unknown, string]>([
    ['a name without namespace', () => record('Flight', { a: 'string' }), 'Flight has no namespace; write it as <namespace>.Flight'],
    ['a field that is no name', () => record('acme.Flight', { 'a-b': 'string' }), 'invalid field name: a-b'],
    [
      'two meanings of a name',
      () => record('acme.T', { a: Stop, b: record('acme.Stop', { x: 'int' }) }),
      'acme.Stop stands for two different types',
    ],
    ['an optional of an optional', () => record('acme.T', { a: optional(optional('int')) }), 'unions cannot be directly nested'],
    [
      'a default of a branch that is not the first',
      () => record('acme.T', { a: withDefault(optional('int'), 1) }),
      'incompatible field default 1',
    ],
    ['a word twice', () => record('acme.T', { a: enumOf('x', 'x') }), 'duplicate'],
  ])('refuses %s', (_, make, message) => {
    expect(make).toThrow(message);
  });
});
