import type { SpoolError } from '@spool/schemas';
import { z } from 'zod';
import { parseInput } from './input.js';

function violations(schema: z.ZodType, input: unknown, part: 'body' | 'query' = 'body'): Record<string, string> {
  try {
    parseInput(schema, input, part);
  } catch (error) {
    expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
    return Object.fromEntries((error as SpoolError).violations.map(({ pointer, message }) => [pointer, message]));
  }
  return {};
}

describe('the check of input', () => {
  it('points into the body by JSON pointers', () => {
    const schema = z.strictObject({ 'a/b': z.object({ 'c~d': z.array(z.number()) }), e: z.string() });
    expect(violations(schema, { 'a/b': { 'c~d': [1, 'x'] }, f: 1 })).toEqual({
      '/a~1b/c~0d/1': 'Invalid input: expected number, received string',
      '/e': 'Missing; expected string',
      '/f': 'Not a known field',
    });
  });

  it('points at the root if there is nothing', () => {
    expect(violations(z.object({}), undefined)).toEqual({ '': 'Missing; expected object' });
  });

  it('names the part for anything but the body', () => {
    expect(violations(z.strictObject({ limit: z.coerce.number() }), { limit: 'x', o: '1' }, 'query')).toEqual({
      'query:limit': expect.stringContaining('expected number') as string,
      'query:o': 'Not a known field',
    });
  });

  it('tells of a union what the variant that came nearest lacks', () => {
    const schema = z.object({ at: z.union([z.object({ from: z.object({ offset: z.number() }) }), z.string()]) });
    expect(violations(schema, { at: { from: { offset: 'x' } } })).toEqual({
      '/at/from/offset': 'Invalid input: expected number, received string',
    });
    expect(violations(schema, { at: 5 })).toEqual({ '/at': 'Fits none of the allowed forms' });
  });

  it('says why a key is wrong', () => {
    expect(violations(z.record(z.string().max(1), z.number()), { ab: 1 })).toEqual({ '/ab': expect.stringContaining('Too big') as string });
  });

  it('never repeats a value, and stops after fifty', () => {
    const schema = z.array(z.enum(['a', 'b']));
    const found = violations(schema, Array(80).fill('hunter2'));
    expect(Object.keys(found)).toHaveLength(50);
    expect(JSON.stringify(found)).not.toContain('hunter2');
  });
});
