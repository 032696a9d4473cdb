import { catalogue, type ErrorCode, type SpoolError } from '@spool/schemas';
import { z } from 'zod';
import { scrub } from './secrets.js';

/** A name, not an address: nothing needs to be fetched to understand a problem. */
export const problemType = (code: ErrorCode): string => `urn:spool:problem:${code}`;
export const problemMediaType = 'application/problem+json';

const codes = Object.keys(catalogue) as [ErrorCode, ...ErrorCode[]];

/** RFC 9457, with Spool's members. More members may follow: the facts of the error, such as `actualVersion`. */
export const problemSchema = z
  .looseObject({
    type: z.string().describe('urn:spool:problem: and the code'),
    title: z.string().describe('the same for each problem of this code'),
    status: z.int(),
    detail: z.string().describe('what was wrong this time, and where'),
    instance: z.string().describe('the path that was asked for'),
    code: z.enum(codes).describe('stable; compare this one'),
    retryable: z
      .enum(['never', 'backoff', 'fatal'])
      .describe('never: it will fail again; backoff: wait, then try again; fatal: the process that failed must stop'),
    remedy: z.string().describe('what to do next'),
    traceId: z.string().describe('to be quoted in a report'),
    retryAfter: z.int().optional().describe('seconds, as in the Retry-After header'),
    errors: z
      .array(
        z.object({
          pointer: z.string().describe('a JSON pointer into the body, or query:name, header:name, path:name'),
          detail: z.string(),
        }),
      )
      .optional(),
  })
  .meta({ id: 'Problem', description: 'What went wrong (RFC 9457)' });
export type Problem = z.infer<typeof problemSchema>;

/** Where and in which trace the problem came up. */
export interface Occurrence {
  readonly path: string;
  readonly traceId: string;
}

/** The problem document of an error. An INTERNAL one says nothing but the trace id, under which the log has the cause. */
export function problemOf(error: SpoolError, occurrence: Occurrence): Problem {
  const { entry } = error;
  const seconds = retryAfterSeconds(error);
  const hidden = error.code === 'INTERNAL';
  const own: Problem = {
    type: problemType(error.code),
    title: entry.title,
    status: entry.status,
    detail: hidden ? `Something unexpected happened; the log tells more under trace id ${occurrence.traceId}.` : scrub(error.message),
    instance: scrub(occurrence.path),
    code: error.code,
    retryable: entry.retryable,
    remedy: entry.remedy,
    traceId: occurrence.traceId,
    ...(seconds === undefined ? {} : { retryAfter: seconds }),
    ...(hidden || error.violations.length === 0
      ? {}
      : { errors: error.violations.map(({ pointer, message }) => ({ pointer, detail: scrub(message) })) }),
  };
  // Facts stand after the members that each problem has, and never instead of one.
  return hidden ? own : { ...own, ...scrubbed(error.facts), ...own };
}

/** Whole seconds, at least 1: what the error says, else 1 where the status promises the header. */
export function retryAfterSeconds(error: SpoolError): number | undefined {
  if (error.retryAfterMs !== undefined) return Math.max(1, Math.ceil(error.retryAfterMs / 1000));
  const promised = error.entry.retryable === 'backoff' && (error.entry.status === 429 || error.entry.status === 503);
  return promised ? 1 : undefined;
}

function scrubbed(facts: SpoolError['facts']): Record<string, string | number | boolean> {
  return Object.fromEntries(Object.entries(facts).map(([name, fact]) => [name, typeof fact === 'string' ? scrub(fact) : fact]));
}
