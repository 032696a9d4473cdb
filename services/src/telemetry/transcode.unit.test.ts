import { createCodec, createMemoryRegistry, LagSchema, record, SpanSchema, type Codec, type Span } from '@spool/schemas';
import { offset, type ConsumedRecord } from '@spool/streams';
import fc from 'fast-check';
import { createBlockWriter } from './native.js';
import { lagRows, spanRows, type RowShape } from './rows.js';

const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 50 }), fc.constantFrom('', 'a', 'ä€', 'Flight', 'x'.repeat(300)));
const long = fc.oneof(fc.integer(), fc.maxSafeInteger());
const spans: fc.Arbitrary<Span> = fc.record({
  ...{ traceId: text, spanId: text, parentSpanId: fc.option(text), startedAt: long, queueUs: long, handleUs: long, commitUs: long },
  ...{ totalUs: long, outcome: fc.option(text), errorClass: fc.option(text), bundle: text, version: text, instance: text, component: text },
  ...{ handler: text, payloadType: text, aggregateId: fc.option(text), topic: fc.option(text), partition: fc.option(fc.integer()) },
  ...{ offset: fc.option(long), messageId: fc.option(text), correlationId: fc.option(text), causationId: fc.option(text) },
  ...{ replayId: fc.option(text), source: fc.option(text), weight: long },
  messageKind: fc.constantFrom('command', 'event', 'query', 'request', 'other'),
  status: fc.constantFrom('ok', 'error'),
  componentKind: fc.constantFrom('aggregate', 'service', 'observer', 'other'),
});

/** Without what lets it take bytes as they are. */
const decoding = (codec: Codec): Codec => ({
  ...codec,
  decoder: (schema) => ({ ...codec.decoder(schema), isAsWritten: () => false }),
});
const recordOf = (value: Buffer, at = 0): ConsumedRecord => ({
  ...{ topic: 'telemetry.spans', partition: 1, offset: offset(at), key: null, value, headers: {}, timestamp: 0 },
});

async function blockOf(shape: RowShape, values: readonly Buffer[]): Promise<string> {
  const block = createBlockWriter(shape.columns);
  for (const [index, value] of values.entries()) {
    await shape.write(recordOf(value, index), block);
    block.keep();
  }
  return block.take().toString('hex');
}
async function stage() {
  const codec = createCodec({ registry: createMemoryRegistry() });
  const { encode } = await codec.encoder('telemetry.spans', SpanSchema);
  return { codec, encode };
}

describe('rows from the bytes of records', () => {
  it('are the same as rows of what is decoded', async () => {
    const { codec, encode } = await stage();
    await fc.assert(
      fc.asyncProperty(fc.array(spans, { minLength: 1, maxLength: 40 }), async (given) => {
        const values = given.map((span) => encode(span));
        expect(await blockOf(spanRows(codec), values)).toBe(await blockOf(spanRows(decoding(codec)), values));
      }),
      { numRuns: 200 },
    );
  });

  it('are the same for thousands of words, and for numbers of other types', async () => {
    const { codec } = await stage();
    const { encode } = await codec.encoder('telemetry.lag', LagSchema);
    const values = Array.from({ length: 5000 }, (_, n) => {
      const consumer = `consumer ${(n * 7919) % 3000}`;
      return encode({ at: n, consumer, topic: 't', partition: -n, instance: 'i', position: n, end: n, records: 0, seconds: n / 3 });
    });
    expect(await blockOf(lagRows(codec), values)).toBe(await blockOf(lagRows(decoding(codec)), values));
  });

  it('are refused for bytes that do not fit, by the words of the decoder, and leave nothing behind', async () => {
    const { codec, encode } = await stage();
    const [span] = fc.sample(spans, { numRuns: 1, seed: 4 });
    const whole = encode({ ...span!, traceId: 'trace', component: 'Flight' });
    const shape = spanRows(codec);
    const block = createBlockWriter(shape.columns);
    await shape.write(recordOf(whole), block);
    block.keep();
    for (let length = 5; length < whole.length; length++) {
      expect(() => shape.write(recordOf(whole.subarray(0, length)), block)).toThrow(/Bytes are not a spool.Span/);
      block.drop();
    }
    expect(() => shape.write(recordOf(Buffer.concat([whole, Buffer.from([0])])), block)).toThrow(/1 bytes are left over/);
    block.drop();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          void shape.write(recordOf(Buffer.concat([whole.subarray(0, 5), bytes])), block);
        } catch (error) {
          expect(error).toMatchObject({ code: 'RECORD_UNREADABLE' });
        }
        block.drop();
      }),
    );
    expect(block.take().length).toBe((await blockOf(shape, [whole])).length / 2);
  });

  it('are decoded where the writer has another schema', async () => {
    const { codec } = await stage();
    const lag = { at: 1, consumer: 'c', topic: 't', partition: 2, instance: 'i', position: 3, end: 4, records: 5, seconds: 6 };
    const Other = record('spool.Lag', {
      ...{ seconds: 'double', records: 'long', end: 'long', position: 'long', instance: 'string' },
      ...{ partition: 'int', topic: 'string', consumer: 'string', at: 'long' },
    } as const);
    const value = (await codec.encoder('telemetry.lag', Other)).encode(lag);
    const same = (await codec.encoder('telemetry.lag', LagSchema)).encode(lag);
    expect(value).not.toEqual(same);
    const shape = lagRows(codec);
    expect(await blockOf(shape, [value, value])).toBe(await blockOf(shape, [same, same]));
  });
});
