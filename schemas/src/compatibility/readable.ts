import avro from 'avsc';
import type { Type } from 'avsc';
import type { Violation } from '../errors/spool-error.js';
import { isUnion, step } from '../avro/names.js';
import type { AvroSchema } from '../avro/schema.js';
import { avroType } from '../avro/types.js';

const { types } = avro;
type RecordType = InstanceType<typeof types.RecordType>;

/** What a reader takes besides its own type (Avro's promotions). */
const promotions: Readonly<Record<string, readonly string[]>> = {
  long: ['int'],
  float: ['int', 'long'],
  double: ['int', 'long', 'float'],
  string: ['bytes'],
  bytes: ['string'],
};

/** Everything that keeps `reader` from reading what `writer` wrote, with pointers to the fields; empty when it can. @throws SpoolError SCHEMA_INVALID */
export function unreadableParts(reader: AvroSchema, writer: AvroSchema): readonly Violation[] {
  return compare(avroType(reader), avroType(writer), '', new Set());
}

/** A part as a sentence. */
export const sentence = ({ pointer, message }: Violation): string => (pointer === '' ? message : `${pointer}: ${message}`);

function compare(reader: Type, writer: Type, pointer: string, seen: Set<string>): readonly Violation[] {
  const problem = (message: string): readonly Violation[] => [{ pointer, message }];
  if (isUnion(writer)) return writer.types.flatMap((branch) => compare(reader, branch, pointer, seen));
  if (isUnion(reader)) {
    const attempts = reader.types.map((branch) => compare(branch, writer, pointer, new Set(seen)));
    if (attempts.some((found) => found.length === 0)) return [];
    // The branch of the same kind tells most: its inner problems are what a person must mend.
    const alike = reader.types.findIndex((branch) => branch.typeName === writer.typeName && branch.name === writer.name);
    return alike >= 0 ? attempts[alike]! : problem(`${nameOf(writer)} is none of ${reader.types.map(nameOf).join(', ')}`);
  }
  if (reader instanceof types.RecordType && writer instanceof types.RecordType) return compareRecords(reader, writer, pointer, seen);
  if (reader instanceof types.ArrayType && writer instanceof types.ArrayType)
    return compare(reader.itemsType, writer.itemsType, `${pointer}/*`, seen);
  if (reader instanceof types.MapType && writer instanceof types.MapType)
    return compare(reader.valuesType as Type, writer.valuesType as Type, `${pointer}/*`, seen);
  if (reader instanceof types.EnumType && writer instanceof types.EnumType) {
    if (!sameName(reader, writer)) return problem(renamed(reader, writer));
    const unknown = writer.symbols.filter((symbol) => !reader.symbols.includes(symbol));
    const hasDefault = (reader as { readonly default?: unknown }).default !== undefined;
    return unknown.length === 0 || hasDefault
      ? []
      : problem(`the enum does not know ${unknown.join(', ')}, which the writer may use, and has no default`);
  }
  if (reader instanceof types.FixedType && writer instanceof types.FixedType) {
    if (!sameName(reader, writer)) return problem(renamed(reader, writer));
    return reader.size === writer.size ? [] : problem(`${reader.size} bytes are expected and ${writer.size} written`);
  }
  const fits = reader.typeName === writer.typeName || promotions[reader.typeName]?.includes(writer.typeName) === true;
  return fits ? [] : problem(`${nameOf(writer)} cannot be read as ${nameOf(reader)}`);
}

function compareRecords(reader: RecordType, writer: RecordType, pointer: string, seen: Set<string>): readonly Violation[] {
  const pair = `${reader.name ?? ''}:${writer.name ?? ''}`;
  if (seen.has(pair)) return [];
  seen.add(pair);
  if (!sameName(reader, writer)) return [{ pointer, message: renamed(reader, writer) }];
  return reader.fields.flatMap((field) => {
    const at = pointer + step(field.name);
    const source = [field.name, ...field.aliases].map((name) => writer.field(name)).find((found) => (found as unknown) !== undefined);
    if (source !== undefined) return compare(field.type, source.type, at, seen);
    if (field.defaultValue() !== undefined) return [];
    return [{ pointer: at, message: 'the writer does not have this field, and the reader has no default for it' }];
  });
}

const sameName = (reader: Type, writer: Type): boolean => reader.name === writer.name || (reader.aliases ?? []).includes(writer.name ?? '');
const renamed = (reader: Type, writer: Type): string =>
  `${writer.name ?? ''} is not ${reader.name ?? ''}, nor one of its aliases; a rename needs an alias`;
const nameOf = (type: Type): string => type.name ?? (isUnion(type) ? 'union' : type.typeName);
