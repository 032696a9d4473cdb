/** From the text of a request or of a stored version to a parsed schema, with its references resolved. */
import { parseAvro, renderAvro, SpoolError, type ParsedAvro } from '@spool/schemas';
import { LRUCache } from 'lru-cache';
import { invalidSchema } from './errors.js';
import { normalizeInScope } from './settings.js';
import type { SchemaReference, SchemaValue } from './store/records.js';
import { contentKey, type RegistryState } from './store/state.js';

/** References may refer on; a schema that needs more texts than this is refused. */
const maxReferencedTexts = 500;

/** A schema as a client sends it. */
export interface SchemaInput {
  readonly subject: string;
  readonly schema: string;
  readonly references: readonly SchemaReference[];
  /** Asked for by this request; the settings of the subject may ask for it too. */
  readonly normalize: boolean;
}
/** A schema in the form in which it is stored and compared. */
export interface Content {
  readonly parsed: ParsedAvro;
  readonly text: string;
  readonly references: readonly SchemaReference[];
  readonly key: string;
}

/**
 * Parses what a client sent. A reference to version -1 becomes one to the latest.
 * @throws RegistryError 42201
 */
export function contentOf(state: RegistryState, input: SchemaInput, checkDefaults: boolean): Content {
  if (input.schema.trim() === '') throw invalidSchema('Empty schema');
  const normalize = input.normalize || normalizeInScope(state, input.subject);
  const given = input.references.map((reference) => pinned(state, reference));
  const references = normalize ? sortedUnique(given) : given;
  try {
    const parsed = parseAvro(input.schema, { references: textsOf(state, references), checkDefaults });
    const text = renderAvro(parsed, { normalize });
    return { parsed, text, references, key: contentKey({ schema: text, references }) };
  } catch (error) {
    if (!(error instanceof SpoolError)) throw error;
    const named = references.map(({ name, subject, version }) => `${name} (${subject} ${version})`).join(', ');
    throw invalidSchema(`Invalid schema of type AVRO with refs [${named}], details: ${error.message}`);
  }
}

const parsedVersions = new LRUCache<string, ParsedAvro>({ max: 1_000 });

/** The parsed schema of a stored version; undefined when it is not AVRO, or not readable as such. */
export function parseStored(state: RegistryState, row: SchemaValue): ParsedAvro | undefined {
  if ((row.schemaType ?? 'AVRO') !== 'AVRO') return undefined;
  try {
    const references = textsOf(state, row.references ?? []);
    const key = JSON.stringify([row.schema, ...references]);
    const known = parsedVersions.get(key) ?? parseAvro(row.schema, { references });
    parsedVersions.set(key, known);
    return known;
  } catch {
    return undefined;
  }
}

/** The text with every referenced type written out where it is first used. */
export function resolvedText(state: RegistryState, row: SchemaValue): string {
  const parsed = parseStored(state, row);
  return parsed === undefined ? row.schema : renderAvro(parsed, { resolved: true });
}

/** The newest of `versions` with this content. */
export function findContent(state: RegistryState, versions: readonly SchemaValue[], content: Content): SchemaValue | undefined {
  const newestFirst = versions.toReversed();
  const same = newestFirst.find((row) => contentKey(row) === content.key);
  if (same !== undefined || content.references.length > 0) return same;
  // A client may send with its types written out what was registered with references.
  const whole = renderAvro(content.parsed, { resolved: true });
  return newestFirst.find((row) => (row.references ?? []).length > 0 && resolvedText(state, row) === whole);
}

function pinned(state: RegistryState, reference: SchemaReference): SchemaReference {
  if (reference.version !== -1) return reference;
  const latest = state.liveVersions(reference.subject).at(-1);
  if (latest === undefined) throw missing(reference);
  return { ...reference, version: latest.version };
}

const missing = ({ subject, version }: SchemaReference) =>
  invalidSchema(`Invalid schema, details: No schema reference found for subject "${subject}" and version ${version}`);

function sortedUnique(references: readonly SchemaReference[]): SchemaReference[] {
  const byKey = new Map(references.map((reference) => [`${reference.subject}\n${reference.version}\n${reference.name}`, reference]));
  return [...byKey.keys()].sort().map((key) => byKey.get(key)!);
}

/** The texts behind references, those they refer to first. */
function textsOf(state: RegistryState, references: readonly SchemaReference[]): string[] {
  const texts = new Map<string, string>();
  const visiting = new Set<string>();
  const visit = (reference: SchemaReference) => {
    const key = `${reference.subject}\n${reference.version}`;
    if (visiting.has(key)) return;
    visiting.add(key);
    if (visiting.size > maxReferencedTexts) throw invalidSchema(`Invalid schema: it refers to more than ${maxReferencedTexts} others`);
    const row = state.version(reference.subject, reference.version);
    if (row === undefined) throw missing(reference);
    for (const further of row.references ?? []) visit(further);
    texts.set(key, row.schema);
  };
  references.forEach(visit);
  return [...texts.values()];
}
