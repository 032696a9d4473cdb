/**
 * A registry with Confluent's REST API, through the HTTP client of @kafkajs/confluent-schema-registry. Only its HTTP calls are used: its own decoder
 * rebuilds the resolver for every record, and its own `register` refuses a subject whose level differs from its default.
 */
import clientModule from '@kafkajs/confluent-schema-registry/dist/api/index.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { SpoolError } from '../errors/spool-error.js';
import { isDefinition, type AvroSchema } from '../avro/schema.js';
import { avroType, type NamedTypes } from '../avro/types.js';
import type { Compatibility } from '../compatibility/levels.js';
import type { RegisteredVersion, SchemaRegistry } from './registry.js';

export interface HttpRegistryOptions {
  /** Such as `http://127.0.0.1:8081`. A user and password in it are taken for `auth`. */
  readonly url: string;
  readonly auth?: { readonly username: string; readonly password: string };
  /** Level of subjects that are new. @default 'FULL_TRANSITIVE' */
  readonly compatibility?: Compatibility;
  /** How long a call may take with all its retries, in milliseconds. Too short, and a start beside a starting registry fails. @default 30000 */
  readonly deadlineMs?: number;
  /** How long one attempt may take, in milliseconds. @default 5000 */
  readonly attemptTimeoutMs?: number;
}

interface Reference {
  readonly name: string;
  readonly subject: string;
  readonly version: number;
}
interface SchemaBody {
  readonly schema: string;
  readonly schemaType?: string;
  readonly references?: readonly Reference[];
}
interface VersionBody extends SchemaBody {
  readonly id: number;
  readonly version: number;
}
type Call = (parameters: object) => Promise<{ data: <D>() => D }>;
/** The calls we use, with parameters that the client's own types leave open. */
interface Client {
  readonly Schema: { readonly find: Call };
  readonly Subject: Readonly<Record<'all' | 'latestVersion' | 'version' | 'registered' | 'updateConfig' | 'register', Call>>;
}

export function createHttpRegistry(options: HttpRegistryOptions): SchemaRegistry {
  const { compatibility = 'FULL_TRANSITIVE', deadlineMs = 30_000, attemptTimeoutMs = 5_000 } = options;
  const { url, auth } = address(options);
  const client = clientModule.default({
    host: url,
    clientId: 'spool',
    retry: { retries: 0 }, // its retries know no deadline and leave writes out; ours follow below
    ...(auth && { auth }),
  }) as unknown as Client;

  /** Repeats what may pass until the deadline. Every call here may be repeated: to register twice gives the same id. */
  async function call<D>(what: string, send: Call, parameters: object): Promise<D> {
    const deadline = performance.now() + deadlineMs;
    for (let pause = 50; ; pause = Math.min(pause * 2, 1_000)) {
      const left = deadline - performance.now();
      try {
        const response = await send({ ...parameters, timeout: Math.max(1, Math.ceil(Math.min(attemptTimeoutMs, left))) });
        const data = response.data<unknown>();
        if (typeof data !== 'object' || data === null)
          throw new SpoolError('INVALID_CONFIG', `What listens at ${url} does not answer as a schema registry`);
        return data as D;
      } catch (thrown) {
        const error = failure(what, url, thrown);
        if (!error.transient || deadline - performance.now() <= pause) throw error.spool;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }
  /** As `call`, and undefined for 404. */
  const find = async <D>(what: string, send: Call, parameters: object): Promise<D | undefined> => {
    try {
      return await call<D>(what, send, parameters);
    } catch (thrown) {
      if (thrown instanceof SpoolError && thrown.code === 'SCHEMA_UNKNOWN') return undefined;
      throw thrown;
    }
  };
  const versionOf = (subject: string, version: number): Promise<VersionBody | undefined> =>
    find<VersionBody>(`read version ${version} of ${subject}`, client.Subject.version, { subject, version });

  /** The schema with the definitions of what it refers to written into it. */
  async function complete(body: SchemaBody, what: string): Promise<AvroSchema> {
    if (body.schemaType !== undefined && body.schemaType !== 'AVRO')
      throw new SpoolError('SCHEMA_INVALID', `${what} is a ${body.schemaType} schema; only Avro is read`);
    const schema = parse(body.schema, what);
    if (body.references === undefined || body.references.length === 0) return schema;
    const named: NamedTypes = {};
    await addReferences(body.references, named);
    return avroType(schema, named).schema({ exportAttrs: true }) as unknown as AvroSchema;
  }
  async function addReferences(references: readonly Reference[], named: NamedTypes): Promise<void> {
    for (const { name, subject, version } of references) {
      if (name in named) continue;
      const body = await versionOf(subject, version);
      if (body === undefined)
        throw new SpoolError('SCHEMA_UNKNOWN', `${name} refers to version ${version} of ${subject}, which is not there`);
      await addReferences(body.references ?? [], named);
      if (!(name in named)) avroType(parse(body.schema, `version ${version} of ${subject}`), named);
    }
  }

  return {
    async register(subject, schema) {
      const body = { schema: JSON.stringify(schema) };
      // 1. Known already: nothing is written, so a client that may only read can start.
      const known = await find<VersionBody>(`look up the schema under ${subject}`, client.Subject.registered, { subject, body });
      if (known !== undefined) return known.id;
      // 2. A new subject gets its level before its first version, so that the second cannot slip in under a weaker one.
      const latest = await find<VersionBody>(`read ${subject}`, client.Subject.latestVersion, { subject });
      if (latest === undefined)
        await call(`set the level of ${subject}`, client.Subject.updateConfig, { subject, body: { compatibility } });
      // 3. Register.
      const { id } = await call<{ id: number }>(`register ${subject}`, client.Subject.register, { subject, body });
      return id;
    },
    async schemaById(id) {
      const body = await find<SchemaBody>(`read schema ${id}`, client.Schema.find, { id });
      if (body === undefined) throw new SpoolError('SCHEMA_UNKNOWN', `The registry at ${url} has no schema with the id ${id}`);
      return complete(body, `schema ${id}`);
    },
    subjects: () => call<readonly string[]>('list the subjects', client.Subject.all, {}),
    async versions(subject) {
      const latest = await find<VersionBody>(`read ${subject}`, client.Subject.latestVersion, { subject });
      const found: RegisteredVersion[] = [];
      // The client has no call for the list of versions; deleted ones leave gaps.
      for (let version = 1; latest !== undefined && version <= latest.version; version++) {
        const body = version === latest.version ? latest : await versionOf(subject, version);
        if (body !== undefined) found.push({ version, id: body.id, schema: await complete(body, `version ${version} of ${subject}`) });
      }
      return found;
    },
  };
}

function parse(text: string, what: string): AvroSchema {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch {
    // Old registries give a primitive as its bare name.
    return text;
  }
  if (typeof schema === 'string' || Array.isArray(schema) || isDefinition(schema as AvroSchema)) return schema as AvroSchema;
  throw new SpoolError('SCHEMA_INVALID', `${what} is not an Avro schema`);
}

function address({ url, auth }: HttpRegistryOptions): { url: string; auth?: { username: string; password: string } } {
  if (!URL.canParse(url)) throw new SpoolError('INVALID_CONFIG', 'The address of the schema registry is not a URL');
  const { origin, pathname, username, password } = new URL(url);
  const given = auth ?? (username === '' ? undefined : { username: decodeURIComponent(username), password: decodeURIComponent(password) });
  return { url: origin + pathname.replace(/\/+$/, ''), ...(given && { auth: { ...given } }) };
}

/** The client's error has a status and a message. Without an answer the status is 400 and the message holds no message of a registry. */
function failure(what: string, url: string, thrown: unknown): { readonly spool: SpoolError; readonly transient: boolean } {
  if (thrown instanceof SpoolError) return { spool: thrown, transient: false };
  const { status = 400, message } = thrown as { status?: number; message: string };
  const detail = `Schema registry at ${url}: cannot ${what}: ${message.replace(/^spool - (?:Error, status 400: )?/, '')}`;
  const unanswered = status === 400 && message.includes('Error, status 400');
  if (unanswered || status >= 500 || status === 408 || status === 429)
    return { spool: new SpoolError('UNAVAILABLE', detail, { cause: thrown }), transient: true };
  const codes: Readonly<Record<number, ErrorCode>> = { 404: 'SCHEMA_UNKNOWN', 409: 'SCHEMA_INCOMPATIBLE', 422: 'SCHEMA_INVALID' };
  return { spool: new SpoolError(codes[status] ?? 'INVALID_CONFIG', detail, { cause: thrown }), transient: false };
}
