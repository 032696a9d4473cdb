import { SpoolError } from '@spool/schemas';

/** The strong entity tag of a version, or of another name of a state without quotes: `"17"`. */
export const etagOf = (version: bigint | number | string): string => `"${version}"`;

/** The tags of an If-Match or If-None-Match header; `*` stands for whatever is there. */
export type EntityTags = '*' | readonly string[];

const list = /^\s*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")*\s*$/;
const tag = /(?:W\/)?"[^"]*"/g;

/** @throws SpoolError INVALID_REQUEST if the header is not a list of quoted tags */
export function parseEntityTags(header: string, name: 'if-match' | 'if-none-match'): EntityTags {
  if (header.trim() === '*') return '*';
  if (!list.test(header)) {
    throw new SpoolError('INVALID_REQUEST', `${name} is to be * or a list of quoted tags such as "17"`, {
      violations: [{ pointer: `header:${name}`, message: 'Expected * or a list of quoted tags' }],
    });
  }
  return header.match(tag) ?? [];
}

/**
 * Checks If-Match (RFC 9110, 13.1.1) against the version that is there; undefined is a resource that is not there. Without the header all is well.
 * @throws SpoolError PRECONDITION_FAILED with the fact `actualVersion`, INVALID_REQUEST
 */
export function checkIfMatch(header: string | undefined, version: bigint | number | undefined): void {
  if (header === undefined) return;
  const tags = parseEntityTags(header, 'if-match');
  if (version !== undefined && (tags === '*' || tags.includes(etagOf(version)))) return;
  throw new SpoolError(
    'PRECONDITION_FAILED',
    version === undefined ? 'There is no such resource yet' : `The resource is at version ${version}, not at ${header.trim()}`,
    {
      facts: version === undefined ? {} : { actualVersion: String(version) },
    },
  );
}

/**
 * The one version that If-Match names, for whoever passes it on as an expected version: undefined without the header, `any` for `*`.
 * @throws SpoolError INVALID_REQUEST if it names several, a weak tag, or something that is no version
 */
export function versionOfIfMatch(header: string | undefined): bigint | 'any' | undefined {
  if (header === undefined) return undefined;
  const tags = parseEntityTags(header, 'if-match');
  if (tags === '*') return 'any';
  const version = tags.length === 1 ? /^"(\d{1,19})"$/.exec(tags[0]!)?.[1] : undefined;
  if (version !== undefined) return BigInt(version);
  throw new SpoolError('INVALID_REQUEST', 'If-Match is to name one version, such as "17"', {
    violations: [{ pointer: 'header:if-match', message: 'Expected one quoted version' }],
  });
}

/** Whether If-None-Match says that the reader has this version already: answer 304. Compares weakly (RFC 9110, 13.1.2). */
export function isNotModified(header: string | undefined, version: bigint | number | string): boolean {
  if (header === undefined) return false;
  const tags = parseEntityTags(header, 'if-none-match');
  return tags === '*' || tags.some((each) => each.replace(/^W\//, '') === etagOf(version));
}
