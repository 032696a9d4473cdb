import { SpoolError, type Violation } from '@spool/schemas';
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** More than this many violations are cut; nobody reads them, and a hostile body could make a million. */
const most = 50;

/** Checks one part of a request. @throws SpoolError INVALID_REQUEST that names each field and what was expected, never the value. */
export function parseInput<T>(schema: z.ZodType<T>, input: unknown, part: 'body' | 'path' | 'query' | 'header'): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const violations = violationsOf(result.error.issues, (path) => (part === 'body' ? jsonPointer(path) : `${part}:${path.join('.')}`));
  const count = violations.length;
  throw new SpoolError(
    'INVALID_REQUEST',
    `${count === 1 ? 'One field' : `${count} fields`} of the ${part} ${count === 1 ? 'is' : 'are'} not valid`,
    {
      violations: violations.slice(0, most),
    },
  );
}

/** Zod's issues as violations; for a union, those of the variant that came nearest. */
function violationsOf(issues: readonly Issue[], pointer: (path: readonly PropertyKey[]) => string): Violation[] {
  return issues.flatMap((issue) => flatten(issue, []).map(({ path, message }) => ({ pointer: pointer(path), message })));
}

function flatten(issue: Issue, prefix: readonly PropertyKey[]): { path: readonly PropertyKey[]; message: string }[] {
  const path = [...prefix, ...issue.path];
  switch (issue.code) {
    case 'invalid_type':
      return [{ path, message: issue.message.endsWith('received undefined') ? `Missing; expected ${issue.expected}` : issue.message }];
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({ path: [...path, key], message: 'Not a known field' }));
    case 'invalid_union': {
      const variants = issue.errors.filter((errors) => errors.length > 0);
      const nearest = variants.reduce<readonly Issue[] | undefined>(
        (best, each) => (best === undefined || depth(each) > depth(best) ? each : best),
        undefined,
      );
      return nearest === undefined || depth(nearest) === 0
        ? [{ path, message: issue.message === 'Invalid input' ? 'Fits none of the allowed forms' : issue.message }]
        : nearest.flatMap((each) => flatten(each, path));
    }
    case 'invalid_key':
    case 'invalid_element':
      return [{ path, message: `${issue.message}: ${issue.issues.map(({ message }) => message).join('; ')}` }];
    default:
      return [{ path, message: issue.message }];
  }
}

/** How far a variant of a union got before it failed: its shallowest issue. */
const depth = (issues: readonly Issue[]): number => Math.min(...issues.map(({ path }) => path.length));

function jsonPointer(path: readonly PropertyKey[]): string {
  return path.map((segment) => `/${String(segment).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
