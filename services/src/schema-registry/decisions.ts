/** What each write changes, decided on the state that the log says: pure functions with the rules of Confluent's registry. */
import { checkCompatibility, SpoolError } from '@spool/schemas';
import { contentOf, findContent, parseStored, type Content, type SchemaInput } from './content.js';
import {
  incompatible,
  invalidSchema,
  notPermitted,
  referenceExists,
  subjectNotFound,
  subjectNotSoftDeleted,
  subjectSoftDeleted,
  versionNotSoftDeleted,
  versionSoftDeleted,
} from './errors.js';
import { defaultLevel, levelInScope, shownConfig } from './settings.js';
import type { Change, ConfigValue, SchemaValue } from './store/records.js';
import { contentKey, type Mode, type RegistryState } from './store/state.js';
import type { Decide, Decision } from './store/writer.js';
import { versionNamed, versionsOf } from './versions.js';

export interface Registration extends SchemaInput {
  /** Given in IMPORT mode alone. */
  readonly id?: number | undefined;
  /** In IMPORT mode any; else it must be the next one. */
  readonly version?: number | undefined;
}

const unchanged = <T>(result: T): Decision<T> => ({ changes: [], result });

/** The id under which this schema is registered here already. Needs no write, and no permission to write. */
export function registeredId(state: RegistryState, wanted: Registration): number | undefined {
  if (wanted.version !== undefined) return undefined;
  const found = findContent(state, state.liveVersions(wanted.subject), contentOf(state, wanted, false));
  return found !== undefined && (wanted.id === undefined || wanted.id === found.id) ? found.id : undefined;
}

/** @throws RegistryError 409, 42201, 42205 */
export const register =
  (wanted: Registration): Decide<number> =>
  (state) => {
    const { subject } = wanted;
    // 1. What is there already
    const known = registeredId(state, wanted);
    if (known !== undefined) return unchanged(known);
    // 2. May it be written?
    const mode = state.modeInScope(subject);
    refuseReadOnly(state, subject);
    if (wanted.id !== undefined && mode !== 'IMPORT') throw notPermitted(`Subject ${subject} is not in import mode`);
    if (wanted.id === undefined && mode !== 'READWRITE') throw notPermitted(`Subject ${subject} is not in read-write mode`);
    // 3. Is it a schema, and does it fit?
    const content = contentOf(state, wanted, mode !== 'IMPORT');
    const imported = wanted.version === undefined ? undefined : state.version(subject, wanted.version);
    if (imported?.deleted === false && imported.id === wanted.id && contentKey(imported) === content.key) return unchanged(imported.id);
    const version = versionFor(state, wanted, mode);
    if (mode !== 'IMPORT') refuseIncompatible(state, subject, content);
    // 4. The same content has one id everywhere
    const id = wanted.id ?? state.idOf(content.key) ?? state.maxId + 1;
    refuseOverwrite(state, id, content);
    const value: SchemaValue = { subject, version, id, references: content.references, schema: content.text, deleted: false };
    // 5. A deleted earlier version of the same schema has no use any more
    const replaced = state.versions(subject).filter((row) => row.deleted && row.id === id && row.version < version);
    return { changes: [...replaced.map(tombstone), { type: 'SCHEMA', subject, version, value }], result: id };
  };

function versionFor(state: RegistryState, wanted: Registration, mode: Mode): number {
  const last = state.versions(wanted.subject).at(-1);
  const next = (last?.version ?? 0) + 1;
  if (wanted.version === undefined || wanted.version === next) return next;
  if (mode !== 'IMPORT') throw invalidSchema(`Version ${wanted.version} is not one more than the previous version ${next - 1}`);
  if (state.version(wanted.subject, wanted.version)?.deleted === false) {
    throw notPermitted(`Overwrite new schema with version ${wanted.version} is not permitted.`);
  }
  return wanted.version;
}

function refuseOverwrite(state: RegistryState, id: number, content: Content): void {
  const [holder] = state.places(id);
  if (holder !== undefined && (holder.schema !== content.text || holder.schemaType !== undefined)) {
    throw notPermitted(`Overwrite new schema with id ${id} is not permitted.`);
  }
}

function refuseReadOnly(state: RegistryState, subject: string | null): void {
  const mode = state.modeInScope(subject);
  if (mode === 'READONLY' || mode === 'READONLY_OVERRIDE') {
    throw notPermitted(subject === null ? 'The registry is in read-only mode' : `Subject ${subject} is in read-only mode`);
  }
}

function refuseIncompatible(state: RegistryState, subject: string, content: Content): void {
  const messages = compatibilityMessages(state, subject, content, state.liveVersions(subject));
  if (messages.length > 0) throw incompatible(subject, messages);
}

/**
 * What is wrong with `content` beside the newest of `earlier` that it does not go with, under the level in force for the subject, in the
 * form of Confluent's registry. @throws RegistryError 42201 too complex
 */
export function compatibilityMessages(
  state: RegistryState,
  subject: string,
  content: Content,
  earlier: readonly SchemaValue[],
): readonly string[] {
  const level = levelInScope(state, subject);
  const versions = earlier.map((row) => ({ version: row.version, parse: () => parseStored(state, row) }));
  try {
    const conflicts = checkCompatibility(level, content.parsed, versions);
    const newest = earlier.find((row) => row.version === conflicts[0]?.version);
    if (newest === undefined) return [];
    return [
      ...conflicts
        .filter(({ version }) => version === newest.version)
        .map(({ type, description, info }) => `{errorType:'${type}', description:'${description}', additionalInfo:'${info}'}`),
      `{oldSchemaVersion: ${newest.version}}`,
      `{oldSchema: '${newest.schema}'}`,
      `{validateFields: 'false', compatibility: '${level}'}`,
    ];
  } catch (error) {
    if (error instanceof SpoolError) throw invalidSchema(error.message);
    throw error;
  }
}

const tombstone = ({ subject, version }: SchemaValue): Change => ({ type: 'SCHEMA', subject, version, value: null });

function refuseReferenced(state: RegistryState, rows: readonly SchemaValue[]): void {
  for (const { subject, version } of rows) {
    const ids = state.referrers(subject, version);
    if (ids.length > 0) throw referenceExists(subject, version, ids);
  }
}

/** A subject without live versions has no settings. */
function withoutSettings(state: RegistryState, subject: string): Change[] {
  return [
    ...(state.mode(subject) === undefined ? [] : [{ type: 'MODE', subject, value: null } as const]),
    ...(state.config(subject) === undefined ? [] : [{ type: 'CONFIG', subject, value: null } as const]),
  ];
}

/** Gives the versions that were deleted. @throws RegistryError 40401, 40404, 40405, 42205, 42206 */
export const deleteSubject =
  (subject: string, permanent: boolean): Decide<readonly number[]> =>
  (state) => {
    const all = versionsOf(state, subject, true);
    const live = state.liveVersions(subject);
    if (!permanent && live.length === 0) throw subjectSoftDeleted(subject);
    refuseReadOnly(state, subject);
    if (state.referrers(subject).length > 0) refuseReferenced(state, permanent ? all : live);
    if (!permanent) {
      const last = live.at(-1)!.version;
      const changes: Change[] = [{ type: 'DELETE_SUBJECT', subject, version: last }, ...withoutSettings(state, subject)];
      return { changes, result: live.map(({ version }) => version) };
    }
    if (live.length > 0) throw subjectNotSoftDeleted(subject);
    return { changes: [...all.map(tombstone), highestId(state)], result: all.map(({ version }) => version) };
  };

/** Once tombstones are compacted away nothing else tells which ids were given out, and a reader may still hold one. */
const highestId = (state: RegistryState): Change => ({ type: 'NOOP', maxId: state.maxId });

/** Gives the version; `latest` is the last live one. @throws RegistryError 40401, 40402, 40406, 40407, 42205, 42206 */
export const deleteVersion =
  (subject: string, wanted: number | 'latest', permanent: boolean): Decide<number> =>
  (state) => {
    const row = versionNamed(state, subject, wanted, true);
    if (!permanent && row.deleted) throw versionSoftDeleted(subject, row.version);
    refuseReadOnly(state, subject);
    refuseReferenced(state, [row]);
    if (permanent) {
      if (!row.deleted) throw versionNotSoftDeleted(subject, row.version);
      return { changes: [tombstone(row), highestId(state)], result: row.version };
    }
    const isLast = state.liveVersions(subject).length === 1;
    const gone: Change = { type: 'SCHEMA', subject, version: row.version, value: { ...row, deleted: true } };
    return { changes: [gone, ...(isLast ? withoutSettings(state, subject) : [])], result: row.version };
  };

/** What is not named in the update stays. @throws RegistryError 42205 */
export const setConfig =
  (subject: string | null, update: ConfigValue): Decide<void> =>
  (state) => {
    refuseReadOnly(state, subject);
    const named = Object.fromEntries(Object.entries(update).filter(([, setting]) => setting !== undefined));
    return { changes: [{ type: 'CONFIG', subject, value: { ...state.config(subject), ...named } }], result: undefined };
  };

/** Gives the settings that were in force. @throws RegistryError 40401 (the subject has none), 42205 */
export const deleteConfig =
  (subject: string | null): Decide<object> =>
  (state) => {
    const config = state.config(subject);
    if (config === undefined && subject !== null) throw subjectNotFound(subject);
    refuseReadOnly(state, subject);
    const result = shownConfig(config, defaultLevel);
    return config === undefined ? unchanged(result) : { changes: [{ type: 'CONFIG', subject, value: null }], result };
  };

/**
 * IMPORT is for subjects (or a registry) without live schemas, unless forced: what is only soft-deleted there goes for good.
 * @throws RegistryError 42205, 42206
 */
export const setMode =
  (subject: string | null, mode: Mode, force: boolean): Decide<void> =>
  (state) => {
    const set: Change = { type: 'MODE', subject, value: { mode } };
    if (mode !== 'IMPORT' || force || state.modeInScope(subject) === 'IMPORT') return { changes: [set], result: undefined };
    const rows = (subject === null ? state.subjectNames() : [subject]).flatMap((name) => state.versions(name));
    if (rows.some((row) => !row.deleted)) throw notPermitted('Cannot import since found existing subjects');
    return { changes: [...rows.map(tombstone), highestId(state), set], result: undefined };
  };

/** Gives the mode that was set. @throws RegistryError 40401 */
export const deleteMode =
  (subject: string | null): Decide<Mode> =>
  (state) => {
    const mode = state.mode(subject);
    if (mode === undefined && subject !== null) throw subjectNotFound(subject);
    return mode === undefined ? unchanged('READWRITE') : { changes: [{ type: 'MODE', subject, value: null }], result: mode };
  };
