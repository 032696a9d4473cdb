/** Every path of the API and what it answers. */
import type { Request } from 'express';
import { contentOf, findContent, resolvedText } from '../content.js';
import * as decisions from '../decisions.js';
import { compatibilityNotConfigured, modeNotConfigured, schemaNotFound } from '../errors.js';
import { defaultLevel, shownConfig } from '../settings.js';
import type { SchemaValue } from '../store/records.js';
import type { RegistryState } from '../store/state.js';
import type { Decide } from '../store/writer.js';
import { versionNamed, versionsOf } from '../versions.js';
import * as ask from './request.js';

export interface Registry {
  /** The state as of the last record read. */
  readonly state: () => RegistryState;
  readonly write: <T>(decide: Decide<T>) => Promise<T>;
  /** What `/v1/metadata/id` shows. */
  readonly clusters: Readonly<Record<string, string>>;
}
type Answer = (request: Request, registry: Registry) => unknown;
type Method = 'get' | 'post' | 'put' | 'delete';

/** A string answer is sent as it is: it is JSON already. */
export const routes: Readonly<Record<string, Partial<Record<Method, Answer>>>> = {
  '/': { get: () => ({}), post: () => ({}) },
  '/v1/metadata/id': { get: (_, { clusters }) => ({ scope: { path: [], clusters }, id: '' }) },
  '/contexts': { get: () => ['.'] },
  '/schemas': { get: listSchemas },
  '/schemas/types': { get: () => ['AVRO'] },
  '/schemas/ids/:id': { get: schemaById },
  '/schemas/ids/:id/schema': { get: (request, { state }) => text(request, state(), rowById(request, state())) },
  '/schemas/ids/:id/subjects': { get: (request, { state }) => [...new Set(placesById(request, state()).map(({ subject }) => subject))] },
  '/schemas/ids/:id/versions': {
    get: (request, { state }) => placesById(request, state()).map(({ subject, version }) => ({ subject, version })),
  },
  '/subjects': { get: listSubjects },
  '/subjects/:subject': {
    post: lookUp,
    delete: (request, { write }) => write(decisions.deleteSubject(ask.subjectOf(request), ask.flag(request, 'permanent'))),
  },
  '/subjects/:subject/versions': { get: listVersions, post: register },
  '/subjects/:subject/versions/:version': {
    get: (request, { state }) => shown(request, state(), versionRow(request, state(), ask.flag(request, 'deleted'))),
    delete: (request, { write }) =>
      write(decisions.deleteVersion(ask.subjectOf(request), ask.versionOf(request), ask.flag(request, 'permanent'))),
  },
  '/subjects/:subject/versions/:version/schema': {
    get: (request, { state }) => text(request, state(), versionRow(request, state(), ask.flag(request, 'deleted'))),
  },
  '/subjects/:subject/versions/:version/referencedby': {
    get: (request, { state }) => {
      const { subject, version } = versionRow(request, state(), true);
      return state().referrers(subject, version);
    },
  },
  '/compatibility/subjects/:subject/versions': { post: checkAll },
  '/compatibility/subjects/:subject/versions/:version': { post: checkOne },
  '/config': {
    get: (_, { state }) => shownConfig(state().config(null), defaultLevel),
    put: (request, { write }) => setConfig(request, null, write),
    delete: (_, { write }) => write(decisions.deleteConfig(null)),
  },
  '/config/:subject': {
    get: getConfig,
    put: (request, { write }) => setConfig(request, ask.subjectOf(request), write),
    delete: (request, { write }) => write(decisions.deleteConfig(ask.subjectOf(request))),
  },
  '/mode': {
    get: (_, { state }) => ({ mode: state().modeInScope(null) }),
    put: (request, { write }) => setMode(request, null, write),
    delete: async (_, { write }) => ({ mode: await write(decisions.deleteMode(null)) }),
  },
  '/mode/:subject': {
    get: getMode,
    put: (request, { write }) => setMode(request, ask.subjectOf(request), write),
    delete: async (request, { write }) => ({ mode: await write(decisions.deleteMode(ask.subjectOf(request))) }),
  },
};

const mostSchemas = 1_000;
const mostNames = 20_000;

/** `deletedOnly` goes before `deleted`. */
function visible(request: Request): (row: SchemaValue) => boolean {
  if (ask.flag(request, 'deletedOnly')) return (row) => row.deleted;
  return ask.flag(request, 'deleted') ? () => true : (row) => !row.deleted;
}

function shown(request: Request, state: RegistryState, row: SchemaValue): object {
  return {
    subject: row.subject,
    version: row.version,
    id: row.id,
    ...shownSchema(request, state, row),
    ...(row.deleted && { deleted: true }),
  };
}

const shownSchema = (request: Request, state: RegistryState, row: SchemaValue) => ({
  ...(row.schemaType !== undefined && { schemaType: row.schemaType }),
  ...((row.references ?? []).length > 0 && { references: row.references }),
  schema: text(request, state, row),
});

const text = (request: Request, state: RegistryState, row: SchemaValue) =>
  ask.textParameter(request, 'format') === 'resolved' ? resolvedText(state, row) : row.schema;

/** `:*:` before a prefix stands for every context; there is one here. */
function namesWithPrefix(request: Request, state: RegistryState): readonly string[] {
  const prefix = (ask.textParameter(request, 'subjectPrefix') ?? '').replace(/^:\*:/, '');
  return state.subjectNames().filter((name) => name.startsWith(prefix));
}

function listSubjects(request: Request, { state }: Registry): readonly string[] {
  const [wantsDeleted, wantsAll] = [ask.flag(request, 'deletedOnly'), ask.flag(request, 'deleted')];
  const names = namesWithPrefix(request, state()).filter((name) => {
    const gone = state().liveVersions(name).length === 0;
    return wantsDeleted ? gone : wantsAll || !gone;
  });
  return ask.page(request, names, mostNames);
}

function listVersions(request: Request, { state }: Registry): readonly number[] {
  const subject = ask.subjectOf(request);
  const withDeleted = ask.flag(request, 'deleted') || ask.flag(request, 'deletedOnly');
  const versions = versionsOf(state(), subject, withDeleted).filter(visible(request));
  return ask.page(
    request,
    versions.map(({ version }) => version),
    mostNames,
  );
}

const versionRow = (request: Request, state: RegistryState, deleted: boolean): SchemaValue =>
  versionNamed(state, ask.subjectOf(request), ask.versionOf(request), deleted);

/** A deleted schema is still found by its id: records written with it must stay readable. */
function rowById(request: Request, state: RegistryState): SchemaValue {
  const id = ask.idOf(request);
  const [row] = state.places(id);
  if (row === undefined) throw schemaNotFound(id);
  return row;
}

function schemaById(request: Request, { state }: Registry): object {
  const row = rowById(request, state());
  return {
    ...shownSchema(request, state(), row),
    ...(ask.flag(request, 'fetchMaxId') && { maxId: state().maxId }),
  };
}

function placesById(request: Request, state: RegistryState): readonly SchemaValue[] {
  const { id } = rowById(request, state);
  const only = ask.textParameter(request, 'subject');
  const rows = state.places(id).filter((row) => (only === undefined || row.subject === only) && visible(request)(row));
  return rows.toSorted((a, b) => (a.subject === b.subject ? a.version - b.version : a.subject < b.subject ? -1 : 1));
}

function listSchemas(request: Request, { state }: Registry): readonly object[] {
  const latestOnly = ask.flag(request, 'latestOnly');
  const rows = namesWithPrefix(request, state()).flatMap((name) => {
    const versions = state().versions(name).filter(visible(request));
    return latestOnly ? versions.slice(-1) : versions;
  });
  return ask.page(request, rows, mostSchemas).map((row) => shown(request, state(), row));
}

async function register(request: Request, { state, write }: Registry): Promise<object> {
  const wanted = ask.registrationOf(request);
  // Most registrations are of something that is there; they need not wait for the log.
  const id = decisions.registeredId(state(), wanted) ?? (await write(decisions.register(wanted)));
  return { id };
}

function lookUp(request: Request, { state }: Registry): object {
  const wanted = ask.registrationOf(request);
  const versions = versionsOf(state(), wanted.subject, ask.flag(request, 'deleted'));
  const found = findContent(state(), versions, contentOf(state(), wanted, false));
  if (found === undefined) throw schemaNotFound();
  return shown(request, state(), found);
}

/** Without any version to compare with, everything is compatible. */
function check(request: Request, state: RegistryState, earlier: readonly SchemaValue[]): object {
  const wanted = ask.registrationOf(request);
  const messages = decisions.compatibilityMessages(state, wanted.subject, contentOf(state, wanted, true), earlier);
  return { is_compatible: messages.length === 0, ...(ask.flag(request, 'verbose') && { messages }) };
}

function checkAll(request: Request, { state }: Registry): object {
  return check(request, state(), state().liveVersions(ask.subjectOf(request)));
}

function checkOne(request: Request, { state }: Registry): object {
  const isLatest = ask.versionOf(request) === 'latest';
  const known = state().liveVersions(ask.subjectOf(request)).length > 0;
  return check(request, state(), isLatest && !known ? [] : [versionRow(request, state(), false)]);
}

function getConfig(request: Request, { state }: Registry): object {
  const subject = ask.subjectOf(request);
  const own = state().config(subject);
  if (ask.flag(request, 'defaultToGlobal')) return shownConfig({ ...state().config(null), ...own }, defaultLevel);
  if (own === undefined) throw compatibilityNotConfigured(subject);
  return shownConfig(own);
}

async function setConfig(request: Request, subject: string | null, write: Registry['write']): Promise<object> {
  const update = ask.configBodyOf(request);
  await write(decisions.setConfig(subject, update));
  const { compatibilityLevel: compatibility, normalize } = update;
  return { ...(compatibility && { compatibility }), ...(normalize !== undefined && { normalize }) };
}

function getMode(request: Request, { state }: Registry): object {
  const subject = ask.subjectOf(request);
  const mode = ask.flag(request, 'defaultToGlobal') ? state().modeInScope(subject) : state().mode(subject);
  if (mode === undefined) throw modeNotConfigured(subject);
  return { mode };
}

async function setMode(request: Request, subject: string | null, write: Registry['write']): Promise<object> {
  const mode = ask.modeBodyOf(request);
  await write(decisions.setMode(subject, mode, ask.flag(request, 'force')));
  return { mode };
}
