import fc from 'fast-check';
import kafkajsMurmur2 from 'kafkajs/src/producer/partitioners/default/murmur2.js';
import { murmur2, partitionOf } from './partitioner.js';

describe('partitionOf', () => {
  it('computes what the Java client computes', () => {
    // org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest
    const known: readonly [string, number][] = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
      ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
      ['abc', 479470107],
    ];
    for (const [key, hash] of known) expect(murmur2(Buffer.from(key))).toBe(hash);
  });

  it('agrees with kafkajs on every key', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const key = Buffer.from(bytes);
        expect(murmur2(key)).toBe(kafkajsMurmur2(key));
      }),
    );
  });

  it('stays within the partitions', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 100 }), (key, partitions) => {
        const partition = partitionOf(Buffer.from(key), partitions);
        expect(partition >= 0 && partition < partitions).toBe(true);
      }),
    );
  });
});
