/** Rules that keep a schema able to change without breaking those who read and write it. */
import { SpoolError, type Violation } from '../errors/spool-error.js';
import { isDefinition, type AvroDefinition, type AvroField, type AvroSchema, type RecordDefinition } from '../avro/schema.js';
import { avroType } from '../avro/types.js';

export interface LintOptions {
  /** Whether records, enums and fields must say what they stand for. @default true */
  readonly docs?: boolean;
}

const logicalTypes: Readonly<Record<string, string>> = { 'timestamp-millis': 'long', 'timestamp-micros': 'long' };

/** Everything in a record schema that breaks a rule; pointers go by field names, `*` stands for items and values. Empty when it is good. */
export function lint(schema: RecordDefinition, { docs = true }: LintOptions = {}): readonly Violation[] {
  const found: Violation[] = [];
  const report = (pointer: string, message: string): void => void found.push({ pointer, message });
  try {
    avroType(schema);
  } catch (thrown) {
    if (!(thrown instanceof SpoolError)) throw thrown;
    return [{ pointer: '', message: thrown.message }];
  }
  if (schema.namespace === undefined && !schema.name.includes('.')) report('', `${schema.name} has no namespace`);

  const checkField = (field: AvroField, pointer: string): void => {
    if (docs && !field.doc) report(pointer, 'the field has no doc; say what it stands for and its unit');
    if (!/^[a-z][A-Za-z0-9]*$/.test(field.name)) report(pointer, `${field.name} is not in camelCase`);
    if (Array.isArray(field.type)) checkUnion(field.type as readonly AvroSchema[], field, pointer);
    else check(field.type, pointer);
  };
  const checkUnion = (branches: readonly AvroSchema[], field: AvroField | undefined, pointer: string): void => {
    const others = branches.filter((branch) => branch !== 'null');
    if (others.length !== 1 || branches.length !== 2)
      report(pointer, 'a union must be of null and one other type: several are ambiguous in JSON, and readers that lack one fail');
    if (field !== undefined && (branches[0] !== 'null' || field.default !== null))
      report(pointer, 'a field that may be null must have null as its first branch and as its default');
    for (const branch of others) check(branch, pointer);
  };
  const check = (part: AvroSchema, pointer: string): void => {
    if (typeof part === 'string') return;
    if (!isDefinition(part)) {
      checkUnion(part, undefined, pointer);
      return;
    }
    checkNamed(part, pointer);
    if (part.logicalType !== undefined && logicalTypes[part.logicalType] !== part.type)
      report(pointer, `logical type ${part.logicalType} is not supported; there are ${Object.keys(logicalTypes).join(' and ')}, on long`);
    if (part.items !== undefined) check(part.items, `${pointer}/*`);
    if (part.values !== undefined) check(part.values, `${pointer}/*`);
    for (const field of part.fields ?? []) checkField(field, `${pointer}/${field.name}`);
  };
  const checkNamed = (part: AvroDefinition, pointer: string): void => {
    if (part.name === undefined) return;
    if (!/^(?:.*\.)?[A-Z][A-Za-z0-9]*$/.test(part.name)) report(pointer, `${part.name} is not in PascalCase`);
    if (docs && !part.doc) report(pointer, `${part.name} has no doc; say what it stands for`);
    if (part.type === 'enum' && part.default === undefined)
      report(pointer, `${part.name} has no default; a reader that does not know a later symbol fails without one`);
  };
  check(schema, '');
  return found;
}
