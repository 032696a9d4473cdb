import { randomBytes } from 'node:crypto';
import { childOf, formatTraceparent, newTrace, parseTraceparent } from './traceparent.js';

const text = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

describe('traceparent', () => {
  it('is read and written', () => {
    expect(parseTraceparent(text)).toEqual({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', sampled: true });
    expect(formatTraceparent(parseTraceparent(text)!)).toBe(text);
    expect(parseTraceparent(text.replace(/01$/, '00'))?.sampled).toBe(false);
  });

  it.each([
    ['a later version with more parts', 'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what'],
    ['a later version', 'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
  ])('is read from %s', (_, later) => {
    expect(parseTraceparent(later)?.spanId).toBe('b7ad6b7169203331');
  });

  it.each([
    ['', 'nothing'],
    [text.toUpperCase(), 'upper case'],
    [`${text}-more`, 'more parts in version 00'],
    [text.replace(/^00/, 'ff'), 'version ff'],
    [text.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)), 'a trace id of zeros'],
    [text.replace('b7ad6b7169203331', '0'.repeat(16)), 'a span id of zeros'],
    [text.slice(1), 'a digit too few'],
  ])('is undefined for %j, which has %s', (broken) => {
    expect(parseTraceparent(broken)).toBeUndefined();
  });

  it('is made new from random bytes, and a child keeps the trace', () => {
    const trace = newTrace(randomBytes(24));
    const child = childOf(trace, randomBytes(8));
    expect(parseTraceparent(formatTraceparent(trace))).toEqual(trace);
    expect(child).toEqual({ ...trace, spanId: child.spanId });
    expect(child.spanId).not.toBe(trace.spanId);
  });

  it('is valid even when all random bytes are zero', () => {
    expect(parseTraceparent(formatTraceparent(newTrace(Buffer.alloc(24))))).toBeDefined();
  });
});
