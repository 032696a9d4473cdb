/**
 * Reads Avro schemas as Avro's Java library does, which is what Confluent's registry accepts: strict about names, lenient about
 * attributes it does not know. Every problem names its place as a JSON pointer.
 */
import { isPrimitive } from '../avro/schema.js';
import { SpoolError } from '../errors/spool-error.js';
import { invalidDefault } from './defaults.js';
import { isObject, NumberLiteral, parseJson, type Json, type JsonObject } from './exact-json.js';
import { fullName, typeName, type Field, type FullName, type NamedSchema, type ParsedAvro } from './parsed.js';
import type { Props, RecordSchema, Schema } from './parsed.js';

export interface ParseAvroOptions {
  /** Schemas whose named types may be used, dependencies first. */
  readonly references?: readonly string[];
  /** Refuse defaults that do not fit their type. @default false, since schemas of old topics may carry such defaults */
  readonly checkDefaults?: boolean;
  /** Nested types and nodes; beyond these a schema is refused rather than risking the stack. @default 200 and 50000 */
  readonly maxDepth?: number;
  readonly maxNodes?: number;
}

/** @throws SpoolError SCHEMA_INVALID, with the place and the problem */
export function parseAvro(text: string, options: ParseAvroOptions = {}): ParsedAvro {
  const named = new Map<string, NamedSchema>();
  const budget = { nodes: options.maxNodes ?? 50_000, depth: options.maxDepth ?? 200 };
  for (const reference of options.references ?? []) parseInto(reference, named, { ...budget, checkDefaults: false });
  const external = new Set(named.values());
  const schema = parseInto(text, named, { ...budget, checkDefaults: options.checkDefaults ?? false });
  return { schema, external };
}

interface Limits {
  nodes: number;
  readonly depth: number;
  readonly checkDefaults: boolean;
}
interface Scope {
  readonly named: Map<string, NamedSchema>;
  readonly limits: Limits;
  readonly namespace: string;
  readonly depth: number;
}

function parseInto(text: string, named: Map<string, NamedSchema>, limits: Limits): Schema {
  let json: Json;
  try {
    json = parseJson(text);
  } catch (error) {
    throw new SpoolError('SCHEMA_INVALID', `not valid JSON: ${(error as Error).message}`, { cause: error });
  }
  return parse(json, '', { named, limits, namespace: '', depth: 0 });
}

const bad = (at: string, problem: string) => new SpoolError('SCHEMA_INVALID', `at '${at === '' ? '/' : at}': ${problem}`);

function parse(json: Json, at: string, scope: Scope): Schema {
  scope.limits.nodes -= 1;
  if (scope.limits.nodes < 0) throw bad(at, 'the schema has too many types');
  if (scope.depth > scope.limits.depth) throw bad(at, `types are nested more than ${scope.limits.depth} deep`);
  const inner = { ...scope, depth: scope.depth + 1 };
  if (typeof json === 'string') return isPrimitive(json) ? { kind: json, props: {} } : lookUp(json, at, scope);
  if (Array.isArray(json)) return parseUnion(json as readonly Json[], at, inner);
  if (!isObject(json)) throw bad(at, 'a schema is a string, an object or an array');
  const type = json['type'];
  if (typeof type !== 'string') throw bad(at, type === undefined ? "no 'type'" : "'type' of a schema object is a string");
  if (isPrimitive(type)) return { kind: type, props: propsOf(json, reserved) };
  switch (type) {
    case 'array':
      return { kind: 'array', items: parse(required(json, 'items', at), `${at}/items`, inner), props: propsOf(json, reserved) };
    case 'map':
      return { kind: 'map', values: parse(required(json, 'values', at), `${at}/values`, inner), props: propsOf(json, reserved) };
    case 'record':
    case 'error':
      return parseRecord(json, at, inner, type === 'error');
    case 'enum':
      return parseEnum(json, at, inner);
    case 'fixed':
      return parseFixed(json, at, inner);
    default:
      return lookUp(type, at, scope);
  }
}

function lookUp(name: string, at: string, scope: Scope): NamedSchema {
  const found =
    scope.named.get(name.includes('.') || scope.namespace === '' ? name : `${scope.namespace}.${name}`) ?? scope.named.get(name);
  if (found === undefined) throw bad(at, `undefined name '${name}'`);
  return found;
}

function parseUnion(json: readonly Json[], at: string, scope: Scope): Schema {
  const branches = json.map((branch, index) => parse(branch, `${at}/${index}`, scope));
  const seen = new Set<string>();
  branches.forEach((branch, index) => {
    if (branch.kind === 'union') throw bad(`${at}/${index}`, 'a union may not hold a union');
    const name = typeName(branch);
    if (seen.has(name)) throw bad(`${at}/${index}`, `'${name}' is in the union twice`);
    seen.add(name);
  });
  return { kind: 'union', branches };
}

const reserved = new Set(['doc', 'fields', 'items', 'name', 'namespace', 'size', 'symbols', 'values', 'type', 'aliases']);
const enumReserved = new Set([...reserved, 'default']);
const fieldReserved = new Set(['default', 'doc', 'name', 'order', 'type', 'aliases']);

const propsOf = (json: JsonObject, without: ReadonlySet<string>): Props =>
  Object.fromEntries(Object.entries(json).filter(([key]) => !without.has(key)));
const textOf = (json: JsonObject, key: string) => (typeof json[key] === 'string' ? json[key] : undefined);

function required(json: JsonObject, key: string, at: string): Json {
  const value = json[key];
  if (value === undefined) throw bad(at, `no '${key}'`);
  return value;
}

const simpleName = /^[A-Za-z_][A-Za-z0-9_]*$/;
function nameFrom(text: string, namespace: string, at: string): FullName {
  const dot = text.lastIndexOf('.');
  const name = text.slice(dot + 1);
  const space = dot === -1 ? namespace : text.slice(0, dot);
  if (!simpleName.test(name)) throw bad(at, `'${name}' is not a valid name`);
  if (space !== '' && !space.split('.').every((part) => simpleName.test(part))) throw bad(at, `'${space}' is not a valid namespace`);
  return { name, namespace: space };
}

function strings(json: Json | undefined, at: string): string[] {
  if (json === undefined) return [];
  if (!Array.isArray(json) || !json.every((item) => typeof item === 'string')) throw bad(at, 'must be an array of strings');
  return json;
}

function namedParts(json: JsonObject, at: string, scope: Scope, without: ReadonlySet<string>) {
  const text = textOf(json, 'name');
  if (text === undefined) throw bad(at, "no 'name'");
  const name = nameFrom(text, textOf(json, 'namespace') ?? scope.namespace, `${at}/name`);
  if (isPrimitive(fullName(name))) throw bad(`${at}/name`, `'${name.name}' is the name of a primitive type`);
  const aliases = strings(json['aliases'], `${at}/aliases`).map((alias) => nameFrom(alias, name.namespace, `${at}/aliases`));
  return { name, aliases, doc: textOf(json, 'doc'), props: propsOf(json, without) };
}

function declare<T extends NamedSchema>(schema: T, at: string, scope: Scope): T {
  const name = fullName(schema.name);
  if (scope.named.has(name)) throw bad(`${at}/name`, `'${name}' is defined twice`);
  scope.named.set(name, schema);
  return schema;
}

function parseRecord(json: JsonObject, at: string, scope: Scope, isError: boolean): Schema {
  const fields: Field[] = [];
  const record: RecordSchema = { kind: 'record', isError, ...namedParts(json, at, scope, reserved), fields };
  declare(record, at, scope); // before its fields, which may refer to it
  const list = required(json, 'fields', at);
  if (!Array.isArray(list)) throw bad(`${at}/fields`, 'must be an array');
  const inner = { ...scope, namespace: record.name.namespace };
  const seen = new Set<string>();
  (list as readonly Json[]).forEach((item, index) => {
    const place = `${at}/fields/${index}`;
    const field = parseField(item, place, inner);
    if (seen.has(field.name)) throw bad(place, `the field '${field.name}' is defined twice`);
    seen.add(field.name);
    fields.push(field);
  });
  // Only now: a default may be of a record type that is complete by here.
  if (scope.limits.checkDefaults) {
    fields.forEach((field, index) => {
      const problem = field.default === undefined ? undefined : invalidDefault(field.type, field.default);
      if (problem !== undefined) throw bad(`${at}/fields/${index}/default`, `not a valid default of field '${field.name}': ${problem}`);
    });
  }
  return record;
}

const orders = ['ascending', 'descending', 'ignore'] as const;
function parseField(json: Json, at: string, scope: Scope): Field {
  if (!isObject(json)) throw bad(at, 'a field is an object');
  const name = textOf(json, 'name');
  if (name === undefined) throw bad(at, "no 'name'");
  if (!simpleName.test(name)) throw bad(`${at}/name`, `'${name}' is not a valid name`);
  const written = textOf(json, 'order')?.toLowerCase() ?? 'ascending';
  const order = orders.find((known) => known === written);
  if (order === undefined) throw bad(`${at}/order`, `must be one of ${orders.join(', ')}`);
  return {
    name,
    type: parse(required(json, 'type', at), `${at}/type`, scope),
    doc: textOf(json, 'doc'),
    default: json['default'],
    order,
    aliases: strings(json['aliases'], `${at}/aliases`),
    props: propsOf(json, fieldReserved),
  };
}

function parseEnum(json: JsonObject, at: string, scope: Scope): Schema {
  const symbols = strings(required(json, 'symbols', at), `${at}/symbols`);
  const seen = new Set<string>();
  symbols.forEach((symbol, index) => {
    if (!simpleName.test(symbol)) throw bad(`${at}/symbols/${index}`, `'${symbol}' is not a valid symbol`);
    if (seen.has(symbol)) throw bad(`${at}/symbols/${index}`, `'${symbol}' is there twice`);
    seen.add(symbol);
  });
  const fallback = textOf(json, 'default');
  if (fallback !== undefined && !seen.has(fallback)) throw bad(`${at}/default`, `'${fallback}' is not one of the symbols`);
  return declare({ kind: 'enum', ...namedParts(json, at, scope, enumReserved), symbols, default: fallback }, at, scope);
}

function parseFixed(json: JsonObject, at: string, scope: Scope): Schema {
  const size = required(json, 'size', at);
  if (!(size instanceof NumberLiteral) || !/^\d{1,10}$/.test(size.text) || Number(size.text) > 0x7fffffff) {
    throw bad(`${at}/size`, 'must be a whole number from 0 to 2147483647');
  }
  return declare({ kind: 'fixed', ...namedParts(json, at, scope, reserved), size: Number(size.text) }, at, scope);
}
