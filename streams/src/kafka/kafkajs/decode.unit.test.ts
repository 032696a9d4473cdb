import fc from 'fast-check';
import snappy from 'snappy';
import type { ProducerRecord } from '../port.js';
import { decompress } from './compression.js';
import { decodeRecords } from './decode.js';
import type { FetchedPartition } from './fetch.js';
import { foreignBatches } from './foreign-batches.js';
import { maxBatchBytes, readyRecord, writeBatch } from './record-batch.js';

interface BatchOptions {
  readonly baseOffset?: number;
  readonly producerId?: bigint;
  readonly transactional?: boolean;
  /** Patches bytes of the batch, as compaction, the broker or another client would have written them. */
  readonly patch?: (batch: Buffer) => void;
}

function batch(records: readonly Partial<ProducerRecord>[], options: BatchOptions = {}): Buffer {
  const ready = records.map((record) => readyRecord({ topic: 't', key: null, value: null, ...record }, 1_000));
  const target = Buffer.alloc(maxBatchBytes(ready));
  const identity = { producerId: options.producerId ?? 7n, epoch: 0 };
  const end = writeBatch(target, 0, { topic: 't', partition: 0, records: ready, identity, sequence: 0 }, options.transactional ?? false);
  target.writeBigInt64BE(BigInt(options.baseOffset ?? 0), 0);
  options.patch?.(target);
  return target.subarray(0, end);
}

/** The record that ends a transaction. */
const marker = (baseOffset: number, producerId: bigint, type: 'abort' | 'commit'): Buffer =>
  batch([{ key: Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1]), value: Buffer.alloc(6) }], {
    baseOffset,
    producerId,
    transactional: true,
    patch: (bytes) => bytes.writeInt16BE(0x30, 21),
  });

const fetched = (batches: readonly Buffer[], rest: Partial<FetchedPartition> = {}): FetchedPartition => ({
  topic: 't',
  partition: 0,
  code: 0,
  highWatermark: 100,
  lastStableOffset: 100,
  aborted: [],
  batches: Buffer.concat(batches),
  ...rest,
});
const value = (text: string): Partial<ProducerRecord> => ({ value: Buffer.from(text) });
const read = async (from: FetchedPartition, position = 0, readCommitted = true) => {
  const { records, nextOffset } = await decodeRecords(from, position, readCommitted);
  return { seen: records.map((record) => `${record.offset}:${record.value?.toString() ?? ''}`), nextOffset };
};

describe('decodeRecords', () => {
  it('gives back what was written, whatever it was', async () => {
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
    const record = fc.record({
      key: fc.option(bytes),
      value: fc.option(bytes),
      headers: fc.dictionary(fc.string(), fc.oneof(bytes, fc.string({ unit: 'binary' }))),
      timestamp: fc.integer({ min: 0, max: 2 ** 45 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { minLength: 1, maxLength: 20 }),
        fc.integer({ min: 0, max: 2 ** 50 }),
        async (written, baseOffset) => {
          const { records, nextOffset } = await decodeRecords(fetched([batch(written, { baseOffset })]), baseOffset, true);
          expect(nextOffset).toBe(baseOffset + written.length);
          expect(records).toEqual(
            written.map(({ key, value: content, headers, timestamp }, i) => ({
              topic: 't',
              partition: 0,
              offset: BigInt(baseOffset + i),
              key,
              value: content,
              headers: Object.fromEntries(Object.entries(headers).map(([name, header]) => [name, Buffer.from(header)])),
              timestamp,
            })),
          );
        },
      ),
    );
  });

  it('leaves out what lies before the position, since the broker gives whole batches', async () => {
    const batches = [batch([value('a'), value('b')]), batch([value('c'), value('d')], { baseOffset: 2 })];
    expect(await read(fetched(batches), 1)).toEqual({ seen: ['1:b', '2:c', '3:d'], nextOffset: 4 });
    expect(await read(fetched(batches), 3)).toEqual({ seen: ['3:d'], nextOffset: 4 });
  });

  it('stops at a batch that was cut off', async () => {
    const second = batch([value('c')], { baseOffset: 2 });
    const batches = [batch([value('a'), value('b')]), second.subarray(0, second.length - 3)];
    expect(await read(fetched(batches))).toEqual({ seen: ['0:a', '1:b'], nextOffset: 2 });
    expect(await read(fetched([second.subarray(0, 20)]), 2)).toEqual({ seen: [], nextOffset: 2 });
  });

  it('goes on beyond holes that compaction left at the end of a batch, also of one that is empty', async () => {
    const holed = batch([value('a')], { patch: (bytes) => bytes.writeInt32BE(9, 23) });
    expect(await read(fetched([holed]))).toEqual({ seen: ['0:a'], nextOffset: 10 });
    const empty = batch([value('a')], { baseOffset: 10, patch: (bytes) => bytes.writeInt32BE(4, 23) && bytes.writeInt32BE(0, 57) });
    expect(await read(fetched([holed, empty]))).toEqual({ seen: ['0:a'], nextOffset: 15 });
  });

  it('leaves out transactions that were rolled back, and no others', async () => {
    const log = fetched(
      [
        batch([value('lost')], { baseOffset: 0, producerId: 1n, transactional: true }),
        batch([value('plain')], { baseOffset: 1, producerId: 1n }),
        batch([value('kept')], { baseOffset: 2, producerId: 2n, transactional: true }),
        marker(3, 1n, 'abort'),
        batch([value('second try')], { baseOffset: 4, producerId: 1n, transactional: true }),
        marker(5, 2n, 'commit'),
        marker(6, 1n, 'commit'),
      ],
      { aborted: [{ producerId: 1n, firstOffset: 0 }] },
    );
    expect(await read(log)).toEqual({ seen: ['1:plain', '2:kept', '4:second try'], nextOffset: 7 });
    expect(await read(log, 0, false)).toEqual({ seen: ['0:lost', '1:plain', '2:kept', '4:second try'], nextOffset: 7 });
  });

  it('knows a transaction for rolled back that began before the position', async () => {
    const log = fetched([batch([value('lost')], { baseOffset: 8, producerId: 1n, transactional: true }), marker(9, 1n, 'abort')], {
      aborted: [{ producerId: 1n, firstOffset: 3 }],
    });
    expect(await read(log, 8)).toEqual({ seen: [], nextOffset: 10 });
  });

  it('moves on over a tail of nothing but markers', async () => {
    expect(await read(fetched([marker(4, 1n, 'commit'), marker(5, 2n, 'abort')]), 4)).toEqual({ seen: [], nextOffset: 6 });
  });

  it('takes the time of the log where the topic says so', async () => {
    const stamped = batch([{ timestamp: 5 }, { timestamp: 9 }], {
      patch: (bytes) => bytes.writeInt16BE(0x08, 21) && bytes.writeBigInt64BE(1_700_000_000_000n, 35),
    });
    const { records } = await decodeRecords(fetched([stamped]), 0, true);
    expect(records.map(({ timestamp }) => timestamp)).toEqual([1_700_000_000_000, 1_700_000_000_000]);
  });

  it('keeps the last of a repeated header, takes null for empty, and no header for a prototype', async () => {
    const written = batch([{ headers: { a: 'first', b: 'second', c: 'x', d: Buffer.from('polluted') } }], {
      patch: (bytes) => {
        const place = (name: string) => bytes.indexOf(Buffer.from([2, name.charCodeAt(0)]));
        bytes.write('a', place('b') + 1); // b becomes a second a
        bytes[place('c') + 2] = 1; // a length of -1: null
      },
    });
    // the null header no longer has its one byte of content: make the record and the batch that much shorter
    const at = written.indexOf(Buffer.from([2, 'c'.charCodeAt(0), 1])) + 3;
    const shorter = Buffer.concat([written.subarray(0, at), written.subarray(at + 1)]);
    shorter[61] = shorter[61]! - 2;
    shorter.writeInt32BE(shorter.length - 12, 8);
    const { records } = await decodeRecords(fetched([shorter]), 0, true);
    expect(records[0]!.headers).toEqual({ a: Buffer.from('second'), c: Buffer.alloc(0), d: Buffer.from('polluted') });

    const proto = await decodeRecords(fetched([batch([{ headers: Object.fromEntries([['__proto__', 'x']]) }])]), 0, true);
    expect(Object.getPrototypeOf(proto.records[0]!.headers)).toBe(Object.prototype);
    expect(Object.entries(proto.records[0]!.headers)).toEqual([['__proto__', Buffer.from('x')]]);
  });

  it('says that a message format is too old', async () => {
    const old = batch([value('a')], { patch: (bytes) => bytes.writeInt8(1, 16) });
    await expect(decodeRecords(fetched([old]), 0, true)).rejects.toMatchObject({ code: 'RECORD_UNREADABLE' });
  });

  it.each(Object.entries(foreignBatches))('reads what %s wrote', async (name, base64) => {
    const { records, nextOffset } = await decodeRecords(fetched([Buffer.from(base64, 'base64')]), 0, true);
    expect(nextOffset).toBe(40);
    expect(records.map(({ key, value: content }) => `${key?.toString() ?? ''} ${content?.toString() ?? ''}`)).toEqual(
      Array.from({ length: 40 }, (_, i) => `key-${i} value ${i} value value value`),
    );
    expect(records[39]!.headers).toEqual(name.startsWith('kcat') ? { source: Buffer.from('kcat') } : {});
  });
});

describe('decompress', () => {
  it('joins the blocks that Java clients cut snappy into', async () => {
    const blocks = await Promise.all(['one ', 'two'].map((text) => snappy.compress(text)));
    const framed = blocks.flatMap((block) => {
      const length = Buffer.alloc(4);
      length.writeInt32BE(block.length);
      return [length, block];
    });
    const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    expect((await decompress(2, Buffer.concat([header, ...framed]))).toString()).toBe('one two');
  });

  it('refuses a codec that it does not know', async () => {
    await expect(decompress(5, Buffer.alloc(0))).rejects.toMatchObject({ code: 'RECORD_UNREADABLE' });
  });
});
