/** Whether a default fits its type, by the specification's table; a union's default fits the union's first branch. */
import { isObject, NumberLiteral, renderJson, type Json } from './exact-json.js';
import { typeName, type RecordSchema, type Schema } from './parsed.js';

const range = { int: [-(2n ** 31n), 2n ** 31n - 1n], long: [-(2n ** 63n), 2n ** 63n - 1n] } as const;

/** What is wrong with `value` as a default of `schema`, or undefined. */
export function invalidDefault(schema: Schema, value: Json, depth = 0): string | undefined {
  const wrong = `${clip(renderJson(value))} is not a ${typeName(schema)}`;
  if (depth > 100) return 'it is nested too deep';
  switch (schema.kind) {
    case 'null':
      return value === null ? undefined : wrong;
    case 'boolean':
      return typeof value === 'boolean' ? undefined : wrong;
    case 'int':
    case 'long': {
      if (!(value instanceof NumberLiteral) || !/^-?\d{1,20}$/.test(value.text)) return wrong;
      const [least, most] = range[schema.kind];
      return BigInt(value.text) >= least && BigInt(value.text) <= most ? undefined : wrong;
    }
    case 'float':
    case 'double':
      return value instanceof NumberLiteral ? undefined : wrong;
    case 'string':
      return typeof value === 'string' ? undefined : wrong;
    case 'bytes':
      return typeof value === 'string' && isLatin1(value) ? undefined : wrong;
    case 'fixed':
      return typeof value === 'string' && isLatin1(value) && value.length === schema.size ? undefined : wrong;
    case 'enum':
      return typeof value === 'string' && schema.symbols.includes(value) ? undefined : wrong;
    case 'array':
      return Array.isArray(value) ? firstProblem(value as readonly Json[], (item) => invalidDefault(schema.items, item, depth + 1)) : wrong;
    case 'map':
      return isObject(value) ? firstProblem(Object.values(value), (item) => invalidDefault(schema.values, item, depth + 1)) : wrong;
    case 'union': {
      const [first] = schema.branches;
      const problem = first === undefined ? 'the union is empty' : invalidDefault(first, value, depth + 1);
      return problem === undefined ? undefined : `${problem} (the default of a union is of its first type)`;
    }
    case 'record':
      return isObject(value) ? invalidRecord(schema, value, depth) : wrong;
  }
}

function invalidRecord(schema: RecordSchema, value: { readonly [key: string]: Json }, depth: number): string | undefined {
  return firstProblem(schema.fields, (field) => {
    const own = Object.hasOwn(value, field.name) ? value[field.name] : field.default;
    if (own === undefined) return `the field '${field.name}' is missing`;
    const problem = invalidDefault(field.type, own, depth + 1);
    return problem === undefined ? undefined : `field '${field.name}': ${problem}`;
  });
}

function firstProblem<T>(items: readonly T[], check: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const problem = check(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

const isLatin1 = (text: string) => !/[^\u0000-\u00ff]/.test(text);
const clip = (text: string) => (text.length > 60 ? `${text.slice(0, 57)}...` : text);
