/** How types and values are called in messages to people. */
import { inspect } from 'node:util';
import avro from 'avsc';
import type { Type } from 'avsc';

const { types } = avro;
export const isUnion = (type: Type): type is Type & { readonly types: readonly Type[] } => type.typeName.startsWith('union:');

/** `string`, `array of acme.Leg`, `one of A, B`, `string or null`. */
export function expected(type: Type): string {
  if (isUnion(type)) {
    const names = type.types.map(expected);
    return type.types.length === 2 && names[0] === 'null' ? `${names[1]!} or null` : names.join(' or ');
  }
  if (type instanceof types.EnumType) return `one of ${type.symbols.join(', ')}`;
  if (type instanceof types.ArrayType) return `an array of ${expected(type.itemsType)}`;
  if (type instanceof types.MapType) return `an object with values of ${expected(type.valuesType as Type)}`;
  if (type instanceof types.RecordType) return `a record ${type.name ?? ''}`.trimEnd();
  if (type instanceof types.FixedType) return `${type.size} bytes`;
  switch (type.typeName) {
    case 'int':
      return 'int (a whole number of 32 bits)';
    case 'long':
      return 'long (a whole number within ±(2^53 - 1))';
    default:
      return type.typeName;
  }
}

/** What was given, cut to some 40 characters. */
export function given(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Buffer.isBuffer(value)) return `${value.length} bytes`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'string') return `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  return typeof value === 'bigint' ? `the bigint ${value}n` : inspect(value);
}

/** A step of a JSON pointer (RFC 6901). */
export const step = (name: string | number): string => `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`;
