/** A parsed Avro schema. A named type that is referred to twice is the same object, so recursive schemas are cyclic graphs. */
import type { PrimitiveKind } from '../avro/schema.js';
import type { Json, JsonObject } from './exact-json.js';

/** Attributes that the specification does not reserve, in the order they were written; `logicalType` is one of them. */
export type Props = JsonObject;

export interface FullName {
  readonly name: string;
  /** `''` is the null namespace. */
  readonly namespace: string;
}
export const fullName = ({ name, namespace }: FullName) => (namespace === '' ? name : `${namespace}.${name}`);

interface PrimitiveSchema {
  readonly kind: PrimitiveKind;
  readonly props: Props;
}
interface ArraySchema {
  readonly kind: 'array';
  readonly items: Schema;
  readonly props: Props;
}
interface MapSchema {
  readonly kind: 'map';
  readonly values: Schema;
  readonly props: Props;
}
export interface UnionSchema {
  readonly kind: 'union';
  readonly branches: readonly Schema[];
}
interface Named {
  readonly name: FullName;
  /** Full names. */
  readonly aliases: readonly FullName[];
  readonly doc: string | undefined;
  readonly props: Props;
}
export interface Field {
  readonly name: string;
  readonly type: Schema;
  readonly doc: string | undefined;
  /** `undefined` has no default, `null` has the default null. */
  readonly default: Json | undefined;
  readonly order: 'ascending' | 'descending' | 'ignore';
  readonly aliases: readonly string[];
  readonly props: Props;
}
export interface RecordSchema extends Named {
  readonly kind: 'record';
  readonly isError: boolean;
  readonly fields: readonly Field[];
}
export interface EnumSchema extends Named {
  readonly kind: 'enum';
  readonly symbols: readonly string[];
  readonly default: string | undefined;
}
export interface FixedSchema extends Named {
  readonly kind: 'fixed';
  readonly size: number;
}
export type NamedSchema = RecordSchema | EnumSchema | FixedSchema;
export type Schema = PrimitiveSchema | ArraySchema | MapSchema | UnionSchema | NamedSchema;

export const isNamed = (schema: Schema): schema is NamedSchema =>
  schema.kind === 'record' || schema.kind === 'enum' || schema.kind === 'fixed';

/** A schema as `parseAvro` gives it. */
export interface ParsedAvro {
  readonly schema: Schema;
  /** Named types that came from the references. */
  readonly external: ReadonlySet<NamedSchema>;
}

/** How messages and unions call a type: `string`, or `org.acme.Flight`. */
export const typeName = (schema: Schema) => (isNamed(schema) ? fullName(schema.name) : schema.kind);
