/** What a request asks for: its path, its flags and its body, checked. */
import type { Request } from 'express';
import { z } from 'zod';
import { invalidCompatibility, invalidMode, invalidSchema, invalidSubject, invalidVersion, RegistryError } from '../errors.js';
import type { Registration } from '../decisions.js';
import { levelNamed } from '../settings.js';
import type { ConfigValue } from '../store/records.js';
import { modes, type Mode } from '../store/state.js';

const maxSubjectLength = 1_000;
const maxReferences = 100;
const highestNumber = 2 ** 31 - 1;

const controls = /[\u0000-\u001f\u007f-\u009f]/;

/** @throws RegistryError 42208 */
export function subjectOf(request: Request): string {
  const subject = param(request, 'subject');
  const why =
    subject.trim() === ''
      ? 'it is empty'
      : subject.length > maxSubjectLength
        ? `it is longer than ${maxSubjectLength} characters`
        : controls.test(subject)
          ? 'it has control characters'
          : subject.startsWith(':.')
            ? 'contexts are not supported'
            : subject === '__GLOBAL' || subject === '__EMPTY'
              ? 'the name is reserved'
              : undefined;
  if (why !== undefined) throw invalidSubject(subject.slice(0, 200), why);
  return subject;
}

function param(request: Request, name: string): string {
  const value = request.params[name];
  return typeof value === 'string' ? value : '';
}

/** `latest` and -1 are the last live version. @throws RegistryError 42202 */
export function versionOf(request: Request): number | 'latest' {
  const text = param(request, 'version');
  if (text === 'latest' || text === '-1') return 'latest';
  const version = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (version < 1 || version > highestNumber) throw invalidVersion(text.slice(0, 100));
  return version;
}

/** @throws RegistryError 404, as a path that does not exist */
export function idOf(request: Request): number {
  const text = param(request, 'id');
  const id = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (id < 0 || id > highestNumber) throw new RegistryError(404, 404, 'HTTP 404 Not Found');
  return id;
}

const query = (request: Request, name: string): string | undefined => {
  const value = request.query[name];
  const last: unknown = Array.isArray(value) ? value.at(-1) : value;
  return typeof last === 'string' ? last : undefined;
};

/** True for `true` in any case. */
export const flag = (request: Request, name: string): boolean => query(request, name)?.toLowerCase() === 'true';
export const textParameter = (request: Request, name: string): string | undefined => query(request, name);

/** `?offset=` and `?limit=`; a limit that is missing, negative or above `most` is `most`. @throws RegistryError 400 */
export function page<T>(request: Request, items: readonly T[], most: number): readonly T[] {
  const number = (name: string, fallback: number) => {
    const text = query(request, name) ?? String(fallback);
    if (!/^-?\d{1,10}$/.test(text)) throw new RegistryError(400, 400, `The query parameter '${name}' must be a whole number`);
    return Number(text);
  };
  const offset = Math.max(0, number('offset', 0));
  const limit = number('limit', -1);
  return items.slice(offset, offset + (limit < 0 ? most : Math.min(limit, most)));
}

const schemaBody = z.object({
  schema: z.string(),
  schemaType: z.string().nullish(),
  references: z
    .array(
      z.object({
        name: z.string().min(1),
        subject: z.string().min(1),
        version: z.int().refine((version) => version === -1 || version >= 1, 'must be -1 or at least 1'),
      }),
    )
    .max(maxReferences)
    .nullish(),
  id: z.int().min(-1).max(highestNumber).nullish(),
  version: z.int().min(-1).max(highestNumber).nullish(),
  metadata: z.unknown().optional(),
  ruleSet: z.unknown().optional(),
});

/** @throws RegistryError 42201, 42208 */
export function registrationOf(request: Request): Registration {
  const subject = subjectOf(request);
  const parsed = schemaBody.safeParse(bodyOf(request));
  if (!parsed.success) throw invalidSchema(`Invalid request, details: ${problems(parsed.error)}`);
  const { schema, schemaType, references, id, version, metadata, ruleSet } = parsed.data;
  if ((schemaType ?? 'AVRO') !== 'AVRO') throw invalidSchema(`Invalid schema type ${schemaType}; this registry holds AVRO schemas only`);
  // Taking them and forgetting them would lose rules that their author relies on.
  if (isGiven(metadata)) throw invalidSchema("Invalid request, details: 'metadata' is not supported by this registry");
  if (isGiven(ruleSet)) throw invalidSchema("Invalid request, details: 'ruleSet' is not supported by this registry");
  const normalize = flag(request, 'normalize');
  return { subject, normalize, schema, references: references ?? [], id: chosen(id, 0), version: chosen(version, 1) };
}

const isGiven = <T>(value: T | null | undefined): value is T => value !== undefined && value !== null;
/** Clients say -1 for "none". */
const chosen = (value: number | null | undefined, least: number) => (isGiven(value) && value >= least ? value : undefined);

/** @throws RegistryError 42203 */
export function configBodyOf(request: Request): ConfigValue {
  const body = z.looseObject({ compatibility: z.string().nullish(), normalize: z.boolean().nullish() }).safeParse(bodyOf(request));
  if (!body.success) throw invalidCompatibility(`Invalid request, details: ${problems(body.error)}`);
  const { compatibility, normalize, ...rest } = body.data;
  const unsupported = Object.keys(rest).filter((name) => isGiven(rest[name]));
  if (unsupported.length > 0) throw invalidCompatibility(`Settings that this registry does not support: ${unsupported.join(', ')}`);
  const compatibilityLevel = isGiven(compatibility) ? levelNamed(compatibility) : undefined;
  if (compatibilityLevel === undefined && (isGiven(compatibility) || !isGiven(normalize))) {
    throw invalidCompatibility(
      'Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive',
    );
  }
  return { compatibilityLevel, normalize: normalize ?? undefined };
}

/** @throws RegistryError 42204 */
export function modeBodyOf(request: Request): Mode {
  const body = z.object({ mode: z.string() }).safeParse(bodyOf(request));
  const mode = body.success ? modes.find((known) => known === body.data.mode.toUpperCase()) : undefined;
  if (mode === undefined) throw invalidMode();
  return mode;
}

/** @throws RegistryError 422 */
function bodyOf(request: Request): unknown {
  const body: unknown = request.body;
  if (typeof body !== 'object' || body === null) throw new RegistryError(422, 422, 'The request needs a body that is a JSON object');
  return body;
}

const problems = (error: z.ZodError) => error.issues.map(({ path, message }) => `/${path.join('/')}: ${message}`).join('; ');
