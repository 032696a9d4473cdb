import type { Violation } from '../errors/spool-error.js';
import { isDefinition, type AvroField, type AvroSchema, type RecordDefinition } from '../avro/schema.js';

/**
 * Fields of `next` that look like renamed fields of `previous`: one went, one of the same type came in the same record, and no alias tells
 * that they are the same. With defaults on both sides that is compatible by Avro's rules, and what was written before is lost in silence.
 */
export function suspectedRenames(previous: RecordDefinition, next: RecordDefinition): readonly Violation[] {
  return compareFields(previous.fields, next.fields, '');
}

function compareFields(before: readonly AvroField[], after: readonly AvroField[], pointer: string): readonly Violation[] {
  const aliases = new Set(after.flatMap((field) => field.aliases ?? []));
  const gone = before.filter((field) => !after.some((other) => other.name === field.name) && !aliases.has(field.name));
  const come = after.filter((field) => !before.some((other) => other.name === field.name) && !field.aliases?.length);
  const here = come.flatMap((field) => {
    const alike = gone.find((other) => JSON.stringify(other.type) === JSON.stringify(field.type));
    if (alike === undefined) return [];
    const message = `looks like ${alike.name} renamed: give it the alias ${alike.name}, or remove ${alike.name} in a version of its own`;
    return [{ pointer: `${pointer}/${field.name}`, message }];
  });
  const below = after.flatMap((field) => {
    const same = before.find((other) => other.name === field.name);
    const [was, is] = [recordIn(same?.type), recordIn(field.type)];
    return was === undefined || is === undefined ? [] : compareFields(was, is, `${pointer}/${field.name}`);
  });
  return [...here, ...below];
}

/** The fields of the record that a type is or holds. */
function recordIn(schema: AvroSchema | undefined): readonly AvroField[] | undefined {
  if (schema === undefined || typeof schema === 'string') return undefined;
  if (isDefinition(schema)) return schema.fields ?? recordIn(schema.items ?? schema.values);
  return schema.map(recordIn).find((fields) => fields !== undefined);
}
