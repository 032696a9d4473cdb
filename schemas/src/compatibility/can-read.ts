/**
 * Whether everything that was written with one schema can be read with another, by the schema resolution of the Avro
 * specification, and if not, what stands in the way and where. It decides as Avro Java's SchemaCompatibility does (named types match by
 * unqualified name or alias), with two deliberate differences: a record that sits in a union is also reported from the inside, and a
 * pair that was taken for compatible only while a later-refuted pair was assumed is looked at again.
 */
import { step } from '../avro/names.js';
import { SpoolError } from '../errors/spool-error.js';
import { fullName, isNamed, typeName, type EnumSchema, type Field, type FixedSchema, type NamedSchema } from './parsed.js';
import type { ParsedAvro, RecordSchema, Schema, UnionSchema } from './parsed.js';

export type IncompatibilityType =
  | 'NAME_MISMATCH'
  | 'FIXED_SIZE_MISMATCH'
  | 'MISSING_ENUM_SYMBOLS'
  | 'READER_FIELD_MISSING_DEFAULT_VALUE'
  | 'TYPE_MISMATCH'
  | 'MISSING_UNION_BRANCH';

export interface Incompatibility {
  readonly type: IncompatibilityType;
  /** JSON pointer into the reader's schema; `/` is the whole. */
  readonly path: string;
  /** What exactly: the field, the symbols, the two types. */
  readonly info: string;
}

/**
 * Empty when a reader with `reader` can read all data of a writer with `writer`.
 * @throws SpoolError SCHEMA_INVALID when they are too large to be compared
 */
export function canRead(reader: ParsedAvro, writer: ParsedAvro): readonly Incompatibility[] {
  return compare(reader.schema, writer.schema, [], { verdicts: new Map(), assumed: [], stepsLeft: mostSteps });
}

interface Comparison {
  /** `'open'` is being decided further up the stack and is compatible unless proven otherwise. */
  readonly verdicts: Map<Schema, Map<Schema, readonly Incompatibility[] | 'open'>>;
  /** Pairs found compatible, oldest first: those younger than a refuted pair may have leaned on it. */
  readonly assumed: { readonly reader: Schema; readonly writer: Schema }[];
  stepsLeft: number;
}
type Path = readonly (string | number)[];
const mostProblems = 100;
/** Pairs of types looked at before giving up: two hostile unions could otherwise hold the process for minutes. */
const mostSteps = 1_000_000;

function compare(reader: Schema, writer: Schema, path: Path, run: Comparison): readonly Incompatibility[] {
  spend(run);
  const byWriter = run.verdicts.get(reader) ?? new Map<Schema, readonly Incompatibility[] | 'open'>();
  run.verdicts.set(reader, byWriter);
  const known = byWriter.get(writer);
  // One problem is enough the second time: repeated in full at every use, the list would double with each level of nesting.
  if (known !== undefined) return known === 'open' ? [] : known.slice(0, 1);

  byWriter.set(writer, 'open');
  const mark = run.assumed.length;
  const found = decide(reader, writer, path, run).slice(0, mostProblems);
  byWriter.set(writer, found);
  // What is incompatible while doubtful pairs count as compatible is so for good; the opposite must be forgotten.
  if (found.length === 0) run.assumed.push({ reader, writer });
  else for (const pair of run.assumed.splice(mark)) run.verdicts.get(pair.reader)?.delete(pair.writer);
  return found;
}

function spend(run: Comparison): void {
  run.stepsLeft -= 1;
  if (run.stepsLeft < 0) throw new SpoolError('SCHEMA_INVALID', 'the schemas are too large to be compared');
}

const readable: Partial<Record<Schema['kind'], readonly Schema['kind'][]>> = {
  long: ['int'],
  float: ['int', 'long'],
  double: ['int', 'long', 'float'],
  bytes: ['string'],
  string: ['bytes'],
};

function decide(reader: Schema, writer: Schema, path: Path, run: Comparison): readonly Incompatibility[] {
  if (writer.kind === 'union') {
    return writer.branches.flatMap((branch, index) =>
      reader.kind === 'union' ? fromUnion(reader, branch, [...path, index], run) : compare(reader, branch, [...path, index], run),
    );
  }
  if (reader.kind === 'union') return fromUnion(reader, writer, path, run);
  if (reader.kind === 'array' && writer.kind === 'array') return compare(reader.items, writer.items, [...path, 'items'], run);
  if (reader.kind === 'map' && writer.kind === 'map') return compare(reader.values, writer.values, [...path, 'values'], run);
  if (reader.kind === 'fixed' && writer.kind === 'fixed') return [...names(reader, writer, path), ...sizes(reader, writer, path)];
  if (reader.kind === 'enum' && writer.kind === 'enum') return [...names(reader, writer, path), ...symbols(reader, writer, path)];
  if (reader.kind === 'record' && writer.kind === 'record') return [...names(reader, writer, path), ...fields(reader, writer, path, run)];
  if (reader.kind === writer.kind || readable[reader.kind]?.includes(writer.kind) === true) return [];
  return [problem('TYPE_MISMATCH', path, `reader type: ${upper(reader)} not compatible with writer type: ${upper(writer)}`)];
}

/** The writer's type is not a union. */
function fromUnion(reader: UnionSchema, writer: Schema, path: Path, run: Comparison): readonly Incompatibility[] {
  let likely: readonly Incompatibility[] = [];
  for (const [index, branch] of reader.branches.entries()) {
    spend(run);
    if (!isLikely(branch, writer)) continue; // the same answer without the work: unions can have thousands of branches
    const found = compare(branch, writer, [...path, index], run);
    if (found.length === 0) return [];
    if (isNamed(branch)) likely = found;
  }
  return [problem('MISSING_UNION_BRANCH', path, `reader union lacking writer type: ${upper(writer)}`), ...likely];
}

function isLikely(reader: Schema, writer: Schema): boolean {
  if (reader.kind !== writer.kind) return readable[reader.kind]?.includes(writer.kind) === true;
  return !isNamed(reader) || !isNamed(writer) || namesMatch(reader, writer);
}

const namesMatch = (reader: NamedSchema, writer: NamedSchema) =>
  reader.name.name === writer.name.name || reader.aliases.some((alias) => fullName(alias) === fullName(writer.name));

const names = (reader: NamedSchema, writer: NamedSchema, path: Path) =>
  namesMatch(reader, writer) ? [] : [problem('NAME_MISMATCH', [...path, 'name'], `expected: ${fullName(writer.name)}`)];

const sizes = (reader: FixedSchema, writer: FixedSchema, path: Path) =>
  reader.size === writer.size ? [] : [problem('FIXED_SIZE_MISMATCH', [...path, 'size'], `expected: ${writer.size}, found: ${reader.size}`)];

function symbols(reader: EnumSchema, writer: EnumSchema, path: Path) {
  const known = new Set(reader.symbols);
  const missing = writer.symbols.filter((symbol) => !known.has(symbol));
  if (missing.length === 0 || reader.default !== undefined) return [];
  return [problem('MISSING_ENUM_SYMBOLS', [...path, 'symbols'], `[${missing.sort().join(', ')}]`)];
}

function fields(reader: RecordSchema, writer: RecordSchema, path: Path, run: Comparison): readonly Incompatibility[] {
  const written = new Map(writer.fields.map((field) => [field.name, field]));
  return reader.fields.flatMap((field, index) => {
    const place = [...path, 'fields', index];
    const sources = [field.name, ...field.aliases]
      .map((name) => written.get(name))
      .filter((source): source is Field => source !== undefined);
    const [source] = sources;
    if (source === undefined) {
      return field.default === undefined ? [problem('READER_FIELD_MISSING_DEFAULT_VALUE', place, field.name)] : [];
    }
    if (sources.length > 1) {
      const several = sources.map(({ name }) => name).join(', ');
      return [problem('NAME_MISMATCH', [...place, 'aliases'], `field ${field.name} matches several fields of the writer: ${several}`)];
    }
    return compare(field.type, source.type, [...place, 'type'], run);
  });
}

const upper = (schema: Schema) => (isNamed(schema) ? `${schema.kind.toUpperCase()} ${typeName(schema)}` : schema.kind.toUpperCase());

const problem = (type: IncompatibilityType, path: Path, info: string): Incompatibility => ({
  type,
  path: path.map(step).join('') || '/',
  info,
});
