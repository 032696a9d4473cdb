import { SpoolError } from '@spool/schemas';
import { z } from 'zod';

/**
 * A cursor is where the next page begins, in a form that callers pass back and do not look into. It is not secret and not signed: whoever
 * makes one up gets what the same query gave anyway, so the route must check rights and filters anew for each page.
 * @param kind what is being listed, so that a cursor of one list is refused by another
 * @param place what the route needs to go on; bigints as text
 */
export function encodeCursor(kind: string, place: unknown): string {
  return Buffer.from(JSON.stringify([1, kind, place])).toString('base64url');
}

/** @throws SpoolError INVALID_REQUEST if `encodeCursor` did not make it for this kind, or the place does not fit the schema */
export function decodeCursor<T>(kind: string, cursor: string, schema: z.ZodType<T>): T {
  try {
    const [, , place] = z
      .tuple([z.literal(1), z.literal(kind), z.unknown()])
      .parse(JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')));
    return schema.parse(place);
  } catch (cause) {
    throw new SpoolError('INVALID_REQUEST', 'The cursor is not one of this list; begin again without it', {
      cause,
      violations: [{ pointer: 'query:cursor', message: 'Not a cursor of this list' }],
    });
  }
}

/** The query fields of a paged list, to be spread into the route's query schema. */
export const pageQuery = ({ limit, most }: { readonly limit: number; readonly most: number }) => ({
  cursor: z.string().max(2_048).optional().describe('nextCursor of the page before'),
  limit: z
    .string()
    .regex(/^\d{1,9}$/, 'Expected a whole number')
    .transform(Number)
    .pipe(z.int().min(1).max(most))
    .prefault(String(limit))
    .describe(`how many, 1 to ${most}, else ${limit}`),
});

/** A page of `item`; without `nextCursor` it is the last one. */
export const pageOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), nextCursor: z.string().optional() });
