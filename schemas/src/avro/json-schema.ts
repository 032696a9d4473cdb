/** JSON Schema (2020-12) of the plain JSON that `fromJson` takes and `toJson` gives. */
import avro from 'avsc';
import type { Type } from 'avsc';
import { isTagged } from './json.js';
import { isUnion } from './names.js';
import type { RecordSchema } from './schema.js';
import { recordType } from './types.js';

const { types } = avro;
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * The schemas of a record and of all records within it, by their full names; they refer to each other, since a record may hold itself.
 * @param refer the `$ref` of a full name
 * @param given of JSON that is given: it has every field. @default JSON that is taken, where fields with a default may be left out
 */
export function jsonSchemaOf(
  schema: RecordSchema<unknown>,
  refer: (fullName: string) => string,
  given = false,
): Readonly<Record<string, JsonSchema>> {
  const made: Record<string, JsonSchema> = {};
  const of = (type: Type): JsonSchema => {
    if (isUnion(type)) return ofUnion(type.types);
    if (type instanceof types.RecordType) return ofRecord(type);
    if (type instanceof types.ArrayType) return { type: 'array', items: of(type.itemsType) };
    if (type instanceof types.MapType) return { type: 'object', additionalProperties: of(type.valuesType as Type) };
    if (type instanceof types.EnumType) return { enum: type.symbols };
    if (type instanceof types.FixedType) {
      const length = 4 * Math.ceil(type.size / 3);
      return { type: 'string', contentEncoding: 'base64', minLength: length, maxLength: length };
    }
    switch (type.typeName) {
      case 'null':
      case 'boolean':
      case 'string':
        return { type: type.typeName };
      case 'int':
        return { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
      case 'long':
        return { type: 'integer', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER };
      case 'bytes':
        return { type: 'string', contentEncoding: 'base64' };
      default:
        return { anyOf: [{ type: 'number' }, { enum: ['NaN', 'Infinity', '-Infinity'] }] };
    }
  };
  const ofUnion = (branches: readonly Type[]): JsonSchema => {
    if (!isTagged(branches)) return { anyOf: branches.map(of) };
    const named = (branch: Type): JsonSchema => {
      const name = branch.branchName!;
      return name === 'null'
        ? { type: 'null' }
        : { type: 'object', properties: { [name]: of(branch) }, required: [name], additionalProperties: false };
    };
    return { anyOf: branches.map(named) };
  };
  const ofRecord = (type: InstanceType<typeof types.RecordType>): JsonSchema => {
    const name = type.name!;
    if (!Object.hasOwn(made, name)) {
      // Before its fields, which may be of itself.
      made[name] = {};
      const property = (field: (typeof type.fields)[number]): JsonSchema => {
        const { doc } = field as { readonly doc?: unknown };
        return { ...of(field.type), ...(typeof doc === 'string' ? { description: doc } : {}) };
      };
      const { doc } = type as { readonly doc?: string };
      made[name] = {
        type: 'object',
        ...(doc === undefined ? {} : { description: doc }),
        properties: Object.fromEntries(type.fields.map((field) => [field.name, property(field)])),
        required: type.fields.filter((field) => given || field.defaultValue() === undefined).map((field) => field.name),
        additionalProperties: false,
      };
    }
    return { $ref: refer(name) };
  };
  of(recordType(schema));
  return made;
}
