import { continueTrace } from './trace.js';

const random = (bytes: number): Buffer => Buffer.alloc(bytes, 0xab);
const incoming = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00';

describe('trace context', () => {
  it("goes on with the caller's trace and flags, under a span of its own", () => {
    expect(continueTrace(incoming, random)).toEqual({
      traceId: '0af7651916cd43dd8448eb211c80319c',
      traceparent: '00-0af7651916cd43dd8448eb211c80319c-abababababababab-00',
    });
  });

  it.each([undefined, '', 'x', incoming.replace('00-', 'ff-'), `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, incoming.toUpperCase()])(
    'begins anew for %j',
    (header) => {
      expect(continueTrace(header, random)).toEqual({
        traceId: 'ab'.repeat(16),
        traceparent: `00-${'ab'.repeat(16)}-${'ab'.repeat(8)}-01`,
      });
    },
  );
});
