/**
 * avsc types with its holes closed: a length that the bytes cannot hold made it loop or allocate without bound, names that every
 * object inherits (`constructor`, `toString`) passed as enum symbols and as declared fields, and large longs came back as others.
 */
import avro from 'avsc';
import type { Type, types } from 'avsc';
import { SpoolError } from '../errors/spool-error.js';
import { ExactLong, WideningDouble } from './exact-long.js';
import { isDefinition, type AvroSchema, type RecordDefinition, type RecordSchema } from './schema.js';
import type { Hook, Readable, Tap } from './tap.js';

/** Items of no bytes (null, empty records) are the only ones that may outnumber the bytes left; so many are let through. */
const emptyItemsAllowed = 65_536;

/** Number of items in the next block; 0 ends the list. Each item has at least one byte, so more items than bytes is a lie. */
function blockSize(tap: Tap): number {
  let size = tap.readLong();
  if (size < 0) {
    size = -size;
    tap.readLong();
  }
  const left = tap.buf.length - tap.pos;
  if (size > left && size > emptyItemsAllowed) throw new Error(`a list claims ${size} items and has ${Math.max(left, 0)} bytes`);
  return size;
}

class BoundedArray extends avro.types.ArrayType {
  _read(tap: Tap): unknown[] {
    const items = this.itemsType as unknown as Readable;
    const values: unknown[] = [];
    for (let size = blockSize(tap); size > 0; size = blockSize(tap)) {
      while (size-- > 0) values.push(items._read(tap));
    }
    return values;
  }
  _skip(tap: Tap): void {
    const items = this.itemsType as unknown as Readable;
    for (let size = blockSize(tap); size > 0; size = blockSize(tap)) {
      while (size-- > 0) items._skip(tap);
    }
  }
}

class BoundedMap extends avro.types.MapType {
  _read(tap: Tap): Record<string, unknown> {
    const values = this.valuesType as Readable;
    const map: Record<string, unknown> = {};
    for (let size = blockSize(tap); size > 0; size = blockSize(tap)) {
      while (size-- > 0) {
        const key = tap.readString();
        const value = values._read(tap);
        if (key === '__proto__') Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
        else map[key] = value;
      }
    }
    return map;
  }
  _skip(tap: Tap): void {
    const values = this.valuesType as Readable;
    for (let size = blockSize(tap); size > 0; size = blockSize(tap)) {
      while (size-- > 0) {
        tap.skipString();
        values._skip(tap);
      }
    }
  }
}

class ExactEnum extends avro.types.EnumType {
  declare private readonly _indices: Readonly<Record<string, number>>;
  _check(value: unknown, _flags: unknown, hook: Hook | undefined): boolean {
    const known = typeof value === 'string' && Object.hasOwn(this._indices, value);
    if (!known) hook?.(value, this);
    return known;
  }
  _write(tap: Tap, value: unknown): void {
    if (typeof value !== 'string' || !Object.hasOwn(this._indices, value))
      throw new Error(`${String(value)} is not a symbol of ${this.name!}`);
    tap.writeLong(this._indices[value]!);
  }
}

class ExactRecord extends avro.types.RecordType {
  declare private readonly _fieldsByName: Readonly<Record<string, types.Field>>;
  /** Called by avsc when undeclared fields are to be refused. */
  _checkFields(value: object): boolean {
    for (const name in value) if (!Object.hasOwn(this._fieldsByName, name)) return false;
    return true;
  }
}

/** avsc's options are more than its typings know, and the schema is plain JSON. */
type Options = Parameters<typeof Type.forSchema>[1];
type AnySchema = Parameters<typeof Type.forSchema>[0];

function closeHoles(schema: AnySchema, options: unknown): Type | undefined {
  const name = typeof schema === 'object' && 'type' in schema ? schema.type : schema;
  switch (name as string) {
    case 'long':
      return new ExactLong();
    case 'double':
      return new WideningDouble();
    case 'array':
      return new BoundedArray(schema, options);
    case 'map':
      return new BoundedMap(schema, options);
    case 'enum':
      return new ExactEnum(schema, options);
    case 'record':
    case 'error':
      return new ExactRecord(schema, options);
    default:
      return undefined;
  }
}

/** What the name of a record, an enum or a fixed stands for in schemas that refer to it. */
export type NamedTypes = Record<string, Type>;
const compiled = new WeakMap<object, Type>();

/**
 * The avsc type of a schema, made once for each schema object. Values are plain: a record is an object, bytes a Buffer, a long a
 * number, an enum a string; timestamps stay numbers. A union of several branches that JavaScript cannot tell apart (two records, two number
 * types, string and enum) takes `{ "<branch name>": value }`, every other union takes the value itself.
 * @param named types of schemas that this one refers to by name (references of the registry); its own are added.
 * @throws SpoolError SCHEMA_INVALID.
 */
export function avroType(schema: AvroSchema, named?: NamedTypes): Type {
  const known = typeof schema === 'object' && named === undefined ? compiled.get(schema) : undefined;
  if (known !== undefined) return known;
  const options: Options & { omitRecordMethods: boolean } = {
    typeHook: closeHoles,
    omitRecordMethods: true,
    ...(named && { registry: named }),
  };
  let type: Type;
  try {
    type = avro.Type.forSchema(schema as AnySchema, options);
  } catch (cause) {
    const name = isDefinition(schema) ? (schema.name ?? '') : '';
    throw new SpoolError('SCHEMA_INVALID', `Schema ${name} is not valid Avro: ${(cause as Error).message}`, { cause });
  }
  if (typeof schema === 'object' && named === undefined) compiled.set(schema, type);
  return type;
}

const ours = new WeakMap<RecordDefinition, Type>();

/** The type of a schema of our own. Foreign decimals are read as their bytes; our own would be mistaken for bytes, and are refused. @throws SpoolError SCHEMA_INVALID */
export function recordType({ fullName, schema }: RecordSchema<unknown>): Type {
  const known = ours.get(schema);
  if (known !== undefined) return known;
  const at = findDecimal(schema, fullName);
  if (at !== undefined)
    throw new SpoolError(
      'SCHEMA_INVALID',
      `${at} is a decimal, which JavaScript numbers cannot hold: use a long of the smallest unit, or a string`,
    );
  const type = avroType(schema);
  ours.set(schema, type);
  return type;
}

function findDecimal(schema: AvroSchema | undefined, at: string): string | undefined {
  if (schema === undefined || typeof schema === 'string') return undefined;
  if (!isDefinition(schema)) return first(schema.map((branch) => findDecimal(branch, at)));
  if (schema.logicalType === 'decimal') return at;
  return first([
    findDecimal(schema.items ?? schema.values, at),
    ...(schema.fields ?? []).map((field) => findDecimal(field.type, `${at}.${field.name}`)),
  ]);
}
const first = (found: readonly (string | undefined)[]): string | undefined => found.find((each) => each !== undefined);
