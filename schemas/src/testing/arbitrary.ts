import fc from 'fast-check';
import { fullNameOf, isDefinition, isPrimitive, namespaceWithin, qualified, type AvroSchema, type RecordSchema } from '../avro/schema.js';

const primitives: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  null: fc.constant(null),
  boolean: fc.boolean(),
  int: fc.integer(),
  long: fc.maxSafeInteger(),
  float: fc.float(),
  double: fc.double(),
  bytes: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  string: fc.string({ unit: 'binary', maxLength: 100 }),
};

/** Random values of a schema: every kind but unions of several non-null branches, and schemas that contain themselves. */
export function valuesOf<T>({ schema }: RecordSchema<T>): fc.Arbitrary<T> {
  const named = new Map<string, fc.Arbitrary<unknown>>();
  const of = (part: AvroSchema, namespace: string | undefined): fc.Arbitrary<unknown> => {
    if (typeof part === 'string') return isPrimitive(part) ? primitives[part]! : named.get(qualified(part, namespace))!;
    if (!isDefinition(part)) return fc.oneof(...part.map((branch) => of(branch, namespace)));
    const made = ofDefinition(part, namespace);
    if (part.name !== undefined) named.set(fullNameOf({ ...part, name: part.name }, namespace), made);
    return made;
  };
  const ofDefinition = (
    part: Exclude<AvroSchema, string | readonly AvroSchema[]>,
    namespace: string | undefined,
  ): fc.Arbitrary<unknown> => {
    const inner = namespaceWithin(part, namespace);
    if (part.fields) return fc.record(Object.fromEntries(part.fields.map((field) => [field.name, of(field.type, inner)])));
    if (part.symbols) return fc.constantFrom(...part.symbols);
    if (part.items !== undefined) return fc.array(of(part.items, inner), { maxLength: 5 });
    if (part.values !== undefined)
      return fc.dictionary(fc.string({ unit: 'binary', maxLength: 10 }), of(part.values, inner), { maxKeys: 5, noNullPrototype: true });
    return of(part.type, inner);
  };
  return of(schema, undefined) as fc.Arbitrary<T>;
}
