import fc from 'fast-check';
import { crc32c } from './crc32c.js';

describe('CRC-32C', () => {
  it('gives the check value of the standard', () => {
    const bytes = Buffer.from('123456789');
    expect(crc32c(bytes, 0, bytes.length)).toBe(0xe3069283);
  });

  it('is that of the definition, bit by bit, for any bytes and any part of them', () => {
    const plain = (bytes: Uint8Array): number => {
      let crc = 0xffffffff;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
      }
      return ~crc >>> 0;
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(60), fc.nat(60), (bytes, a, b) => {
        const [start, end] = [Math.min(a, b, bytes.length), Math.min(Math.max(a, b), bytes.length)];
        expect(crc32c(bytes, start, end)).toBe(plain(bytes.subarray(start, end)));
      }),
    );
  });
});
