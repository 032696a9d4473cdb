import { z } from 'zod';
import { decodeCursor, encodeCursor, pageOf, pageQuery } from './cursor.js';

const place = z.strictObject({ offset: z.string().regex(/^\d+$/) });

describe('a cursor', () => {
  it('comes back as it was', () => {
    const cursor = encodeCursor('events', { offset: '17' });
    expect(cursor).toMatch(/^[\w-]+$/);
    expect(decodeCursor('events', cursor, place)).toEqual({ offset: '17' });
  });

  it.each([
    ['nonsense', '%%%'],
    ['nothing', ''],
    ['another list', encodeCursor('topics', { offset: '17' })],
    ['another place', encodeCursor('events', { offset: 17 })],
    ['more than there should be', encodeCursor('events', { offset: '17', x: 1 })],
    ['another version', Buffer.from('[2,"events",{"offset":"17"}]').toString('base64url')],
  ])('is refused if it is %s', (_what, cursor) => {
    expect(() => decodeCursor('events', cursor, place)).toThrow(
      expect.objectContaining({
        code: 'INVALID_REQUEST',
        violations: [{ pointer: 'query:cursor', message: 'Not a cursor of this list' }],
      }) as Error,
    );
  });
});

describe('the query of a page', () => {
  const query = z.strictObject(pageQuery({ limit: 20, most: 100 }));
  it('has a usual and a largest size', () => {
    expect(query.parse({})).toEqual({ limit: 20 });
    expect(query.parse({ limit: '100' })).toEqual({ limit: 100 });
    for (const limit of ['0', '101', '', '1e1', '-1', 'x', ['1', '2']]) expect(query.safeParse({ limit }).success).toBe(false);
  });
  it('answers items and where to go on', () => {
    expect(pageOf(z.number()).parse({ items: [1], nextCursor: 'x' })).toEqual({ items: [1], nextCursor: 'x' });
  });
});
