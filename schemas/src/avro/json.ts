/**
 * Plain JSON <-> Avro values, for HTTP. They differ in bytes and fixed (base64 in JSON, Buffer in the value), in float and double
 * (`"NaN"`, `"Infinity"`, `"-Infinity"` in JSON, which has no such numbers) and in unions: one whose branches are told apart by the
 * kind of JSON they take (such as null and one other) takes the value itself; any other takes `{ "<branch name>": value }`, null stays null.
 */
import avro from 'avsc';
import type { Type } from 'avsc';
import { SpoolError, type Violation } from '../errors/spool-error.js';
import { expected, given, isUnion, step } from './names.js';
import type { RecordSchema } from './schema.js';
import { recordType } from './types.js';
import { mismatch, notAField, violationLimit } from './violations.js';

const { types } = avro;
type JsonObject = Readonly<Record<string, unknown>>;
type JsonKind = 'null' | 'boolean' | 'number' | 'string' | 'array' | 'object';

/** Deeper JSON than this is refused; only schemas that contain themselves allow it at all. */
const depthLimit = 100;
const notFinite: ReadonlyMap<unknown, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);
/** Avro would write other bytes for it, and give back another string. */
const halfPair = /\p{Surrogate}/u;
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/**
 * Turns parsed JSON into a value of the schema. Fields that are missing get their defaults.
 * @throws SpoolError INVALID_PAYLOAD with a violation (pointer, what was expected, what was given) for everything that does not fit:
 *   wrong types, missing fields without a default, undeclared fields; at most 50.
 */
export function fromJson<T>(schema: RecordSchema<T>, json: unknown): T {
  const found: Violation[] = [];
  const value = read(recordType(schema), json, '', 0, (pointer, message) => {
    if (found.length < violationLimit) found.push({ pointer, message });
    return null;
  });
  if (found.length > 0) throw invalidPayload(schema.fullName, found);
  return value as T;
}

/** Turns a value of the schema into plain JSON that `fromJson` takes back. The value is not checked. */
export function toJson<T>(schema: RecordSchema<T>, value: T): Readonly<Record<string, unknown>> {
  return write(recordType(schema), value) as Readonly<Record<string, unknown>>;
}

/** As `toJson`, for a type of any kind. */
export const valueToJson = (type: Type, value: unknown): unknown => write(type, value);

export function invalidPayload(fullName: string, violations: readonly Violation[]): SpoolError {
  const [first] = violations;
  const more = violations.length > 1 ? ` (and ${violations.length - 1} more)` : '';
  const where = first!.pointer === '' ? 'the payload' : first!.pointer;
  return new SpoolError('INVALID_PAYLOAD', `Payload does not fit ${fullName}: ${where}: ${first!.message}${more}`, { violations });
}

function kindOf(json: unknown): JsonKind | undefined {
  if (json === null) return 'null';
  if (Array.isArray(json)) return 'array';
  const kind = typeof json;
  return kind === 'boolean' || kind === 'number' || kind === 'string' || kind === 'object' ? kind : undefined;
}

function kindTaken(type: Type): JsonKind {
  switch (type.typeName) {
    case 'null':
    case 'boolean':
    case 'array':
      return type.typeName;
    case 'int':
    case 'long':
    case 'float':
    case 'double':
      return 'number';
    case 'string':
    case 'enum':
    case 'bytes':
    case 'fixed':
      return 'string';
    default:
      return 'object';
  }
}

/** Whether JSON must name the branch, since its kind does not tell. */
export const isTagged = (branches: readonly Type[]): boolean => new Set(branches.map(kindTaken)).size < branches.length;
/** avsc keeps values of such a union as `{ branch: value }` too. It tells strings from bytes, which JSON does not. */
const isWrapped = (type: Type): boolean => type.typeName === 'union:wrapped';

/** Gives null, so that a refusal can be returned in place of the value. */
type Report = (pointer: string, message: string) => null;

function read(type: Type, json: unknown, pointer: string, depth: number, report: Report): unknown {
  const refuse = (): null => report(pointer, mismatch(type, json));
  if (depth > depthLimit) return report(pointer, `is nested deeper than ${depthLimit} levels`);
  if (isUnion(type)) return readUnion(type, json, pointer, depth, report);
  if (type instanceof types.RecordType) return readRecord(type, json, pointer, depth, report);
  if (type instanceof types.ArrayType) {
    if (!Array.isArray(json)) return refuse();
    return json.map((item, index) => read(type.itemsType, item, pointer + step(index), depth + 1, report));
  }
  if (type instanceof types.MapType) {
    if (kindOf(json) !== 'object') return refuse();
    const values = type.valuesType as Type;
    return Object.fromEntries(
      Object.entries(json as JsonObject).map(([key, value]) => [key, read(values, value, pointer + step(key), depth + 1, report)]),
    );
  }
  if (type.typeName === 'bytes' || type.typeName === 'fixed') {
    if (typeof json !== 'string' || !base64.test(json)) return report(pointer, `expected ${expected(type)} in base64, got ${given(json)}`);
    const bytes = Buffer.from(json, 'base64');
    return type.isValid(bytes) ? bytes : report(pointer, `expected ${expected(type)} in base64, got ${bytes.length} bytes`);
  }
  if ((type.typeName === 'double' || type.typeName === 'float') && notFinite.has(json)) return notFinite.get(json);
  if (typeof json === 'string' && halfPair.test(json)) return report(pointer, 'holds half of a surrogate pair, which UTF-8 cannot');
  return type.isValid(json) ? json : refuse();
}

function readRecord(
  type: InstanceType<typeof types.RecordType>,
  json: unknown,
  pointer: string,
  depth: number,
  report: Report,
): Record<string, unknown> | null {
  if (kindOf(json) !== 'object') return report(pointer, mismatch(type, json));
  const source = json as JsonObject;
  const value: Record<string, unknown> = {};
  for (const field of type.fields) {
    const at = `${pointer}/${field.name}`;
    if (Object.hasOwn(source, field.name) && source[field.name] !== undefined)
      value[field.name] = read(field.type, source[field.name], at, depth + 1, report);
    else {
      const byDefault: unknown = field.defaultValue();
      if (byDefault === undefined) report(at, mismatch(field.type, undefined));
      else value[field.name] = byDefault;
    }
  }
  for (const name of Object.keys(source))
    if (!Object.hasOwn(value, name) && !type.fields.some((field) => field.name === name))
      report(pointer + step(name), notAField(type, name));
  return value;
}

function readUnion(
  type: Type & { readonly types: readonly Type[] },
  json: unknown,
  pointer: string,
  depth: number,
  report: Report,
): unknown {
  const refuse = (): null => report(pointer, mismatch(type, json));
  const kind = kindOf(json);
  if (json === null) return type.types.some((branch) => branch.typeName === 'null') ? null : refuse();
  if (!isTagged(type.types)) {
    const branch = type.types.find((each) => kindTaken(each) === kind) ?? (notFinite.has(json) ? type.types.find(isFloating) : undefined);
    return branch === undefined ? refuse() : read(branch, json, pointer, depth + 1, report);
  }
  const entries = kind === 'object' ? Object.entries(json as JsonObject) : [];
  const [name, inner] = entries[0] ?? [''];
  const branch = entries.length === 1 ? type.types.find((each) => each.branchName === name) : undefined;
  if (branch === undefined) {
    const names = type.types.map((each) => each.branchName).filter((each) => each !== 'null');
    return report(pointer, `expected an object with one key, the name of a branch (${names.join(', ')}), got ${given(json)}`);
  }
  const value = read(branch, inner, pointer + step(name), depth + 1, report);
  return isWrapped(type) ? { [name]: value } : value;
}

const isFloating = (type: Type): boolean => type.typeName === 'double' || type.typeName === 'float';

function write(type: Type, value: unknown): unknown {
  if (value === null || value === undefined) return null;
  if (isUnion(type)) {
    if (isWrapped(type)) {
      const [[name, inner]] = Object.entries(value) as [[string, unknown]];
      return {
        [name]: write(
          type.types.find((branch) => branch.branchName === name)!,
          inner,
        ),
      };
    }
    const branch = type.types.find((each) => each.isValid(value))!;
    return isTagged(type.types) ? { [branch.branchName!]: write(branch, value) } : write(branch, value);
  }
  if (type instanceof types.RecordType) {
    const record = value as JsonObject;
    return Object.fromEntries(
      type.fields.map((field) => [
        field.name,
        write(field.type, record[field.name] === undefined ? field.defaultValue() : record[field.name]),
      ]),
    );
  }
  if (type instanceof types.ArrayType) return (value as readonly unknown[]).map((item) => write(type.itemsType, item));
  if (type instanceof types.MapType)
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, write(type.valuesType as Type, item)]));
  if (Buffer.isBuffer(value)) return value.toString('base64');
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return value;
}
