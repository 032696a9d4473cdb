/**
 * Schemas written in TypeScript, with the type of their values inferred:
 *
 *     export const FlightScheduled = record('acme.FlightScheduled', {
 *       flightNo: 'string',
 *       at: 'timestamp',
 *       distance: doc('Great circle, miles.', 'int'),
 *       note: optional('string'),
 *       stops: arrayOf(record('acme.Stop', { airport: 'string' })),
 *       cabin: enumOf('unknown', 'economy', 'business'),
 *     });
 *     type FlightScheduled = PayloadOf<typeof FlightScheduled>;
 */
import { SpoolError } from '../errors/spool-error.js';
import type { AvroDefinition, AvroField, RecordSchema } from '../avro/schema.js';
import { recordType } from '../avro/types.js';
import { embed, type DefinedNames } from './embed.js';

interface SimpleTypes {
  readonly string: string;
  readonly boolean: boolean;
  /** 32 bits. */
  readonly int: number;
  /** Whole, within ±(2^53 - 1). */
  readonly long: number;
  readonly float: number;
  readonly double: number;
  readonly bytes: Buffer;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
}

declare const fieldType: unique symbol;
/** The type of a field: a simple one by its name, a record, or what `optional`, `arrayOf`, `mapOf`, `enumOf`, `withDefault` and `doc` give. */
export type FieldSpec = keyof SimpleTypes | Field<unknown> | RecordSchema<unknown>;
/** A field that is more than its type. */
export interface Field<T> {
  readonly [fieldType]?: T;
  /** @param scope names what needs a name; remembers the records that were written out already. */
  readonly describe: (scope: Scope) => Omit<AvroField, 'name'>;
}
interface Scope {
  /** Full name for a type made in place: that of the record and the field, such as `acme.FlightScheduledCabin`. */
  readonly name: string;
  readonly defined: DefinedNames;
}
export type ValueOf<S> = S extends keyof SimpleTypes
  ? SimpleTypes[S]
  : S extends RecordSchema<infer T>
    ? T
    : S extends Field<infer T>
      ? T
      : never;

export type Fields = Readonly<Record<string, FieldSpec>>;
export type RecordValue<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

export interface RecordOptions {
  /** What the record stands for. */
  readonly doc?: string;
  /** Raise it when an upcaster shall change values of earlier versions. @default 1 */
  readonly version?: number;
  /** Former full names. */
  readonly aliases?: readonly string[];
}

/**
 * A record schema, with the type of its values inferred from `fields`.
 * @param fullName with its namespace, such as `acme.FlightScheduled`.
 * @throws SpoolError SCHEMA_INVALID when a name is not valid Avro, or is used for two different records.
 */
export function record<const F extends Fields>(fullName: string, fields: F, options: RecordOptions = {}): RecordSchema<RecordValue<F>> {
  const dot = fullName.lastIndexOf('.');
  if (dot <= 0) throw new SpoolError('SCHEMA_INVALID', `${fullName} has no namespace; write it as <namespace>.${fullName}`);
  const defined: DefinedNames = new Map();
  const schema: RecordSchema<RecordValue<F>> = {
    fullName,
    schema: {
      type: 'record',
      name: fullName.slice(dot + 1),
      namespace: fullName.slice(0, dot),
      ...(options.doc !== undefined && { doc: options.doc }),
      ...(options.aliases !== undefined && { aliases: options.aliases }),
      ...(options.version !== undefined && { version: options.version }),
      fields: Object.entries(fields).map(([name, spec]) => ({ name, ...describe(spec, { name: fullName + capitalized(name), defined }) })),
    },
  };
  recordType(schema);
  return schema;
}

/** The value or null; null when it is missing in JSON and in older records. */
export const optional = <const S extends FieldSpec>(spec: S): Field<ValueOf<S> | null> =>
  field((scope) => {
    const { type, doc: text } = describe(spec, scope);
    return { type: ['null', type], ...(text !== undefined && { doc: text }), default: null };
  });

export const arrayOf = <const S extends FieldSpec>(spec: S): Field<readonly ValueOf<S>[]> =>
  field((scope) => ({ type: { type: 'array', items: describe(spec, scope).type } }));

export const mapOf = <const S extends FieldSpec>(spec: S): Field<Readonly<Record<string, ValueOf<S>>>> =>
  field((scope) => ({ type: { type: 'map', values: describe(spec, scope).type } }));

/** One of some words. The first is what a reader takes for a word that it does not know yet: give one that means that, such as `unknown`. */
export const enumOf = <const W extends readonly [string, ...string[]]>(...words: W): Field<W[number]> =>
  field(({ name }) => ({ type: { type: 'enum', ...split(name), symbols: words, default: words[0] } }));

/** What the field is when it is missing in JSON and in older records. A field added later must have one. Give bytes as `Buffer`. */
export const withDefault = <const S extends FieldSpec>(spec: S, value: ValueOf<S>): Field<ValueOf<S>> =>
  field((scope) => ({ ...describe(spec, scope), default: Buffer.isBuffer(value) ? value.toString('latin1') : value }));

/** Says what the field stands for, with its unit. */
export const doc = <const S extends FieldSpec>(text: string, spec: S): Field<ValueOf<S>> =>
  field((scope) => ({ ...describe(spec, scope), doc: text }));

const field = <T>(describeIt: Field<T>['describe']): Field<T> => ({ describe: describeIt });
const capitalized = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);
const split = (fullName: string): Pick<AvroDefinition, 'name' | 'namespace'> => {
  const dot = fullName.lastIndexOf('.');
  return { name: fullName.slice(dot + 1), namespace: fullName.slice(0, dot) };
};

function describe(spec: FieldSpec, scope: Scope): Omit<AvroField, 'name'> {
  if (typeof spec === 'string') return { type: spec === 'timestamp' ? { type: 'long', logicalType: 'timestamp-millis' } : spec };
  if ('describe' in spec) return spec.describe(scope);
  return { type: embed(spec.schema, scope.defined) };
}
