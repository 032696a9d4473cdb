/**
 * Longs as JavaScript numbers, exact up to ±(2^53 - 1). avsc computes with twice the number, so that it gives another number back from 2^52
 * on, and some with the other sign.
 */
import avro from 'avsc';
import type { Type } from 'avsc';
import type { Hook, Resolving, Tap } from './tap.js';

/** Up to here avsc's own, faster way is exact. */
const exactInAvsc = 2 ** 51;
const low = 2 ** 27;

export class ExactLong extends avro.types.LongType {
  _check(value: unknown, _flags?: unknown, hook?: Hook): boolean {
    const fits = Number.isSafeInteger(value);
    if (!fits) hook?.(value, this);
    return fits;
  }
  _read(tap: Tap): number {
    const value = readLong(tap);
    if (!Number.isSafeInteger(value)) throw new Error('it holds a long beyond ±(2^53 - 1)');
    return value;
  }
  _write(tap: Tap, value: unknown): void {
    if (!Number.isSafeInteger(value)) throw new Error(`${String(value)} is not a long within ±(2^53 - 1)`);
    writeLong(tap, value as number);
  }
}

/** A long read as a double may be beyond the exact range, but has its sign. */
export class WideningDouble extends avro.types.DoubleType {
  _update(resolver: Resolving, writer: Type): void {
    (avro.types.DoubleType.prototype as unknown as { _update(resolver: Resolving, writer: Type): void })._update.call(
      this,
      resolver,
      writer,
    );
    if (writer.typeName === 'long') resolver._read = readLong;
  }
}

/** Avro writes 2n for n >= 0 and -2n - 1 for n < 0, in groups of seven bits, the lowest first: the lowest bit is the sign. */
function readLong(tap: Tap): number {
  const { buf } = tap;
  let bits = 0;
  let shift = 0;
  let byte: number;
  do {
    byte = buf[tap.pos++]!;
    bits |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte & 0x80 && shift < 28);
  if (!(byte & 0x80)) return (bits >>> 1) ^ -(bits & 1);
  let high = 0;
  let factor = 1;
  do {
    byte = buf[tap.pos++]!;
    high += (byte & 0x7f) * factor;
    factor *= 128;
  } while (byte & 0x80);
  const magnitude = high * low + (bits >>> 1);
  return bits & 1 ? -magnitude - 1 : magnitude;
}

function writeLong(tap: Tap, value: number): void {
  if (value < exactInAvsc && value > -exactInAvsc) {
    tap.writeLong(value);
    return;
  }
  const { buf } = tap;
  const magnitude = value < 0 ? -value - 1 : value;
  let bits = (magnitude % low) * 2 + (value < 0 ? 1 : 0);
  for (let group = 0; group < 4; group++, bits >>>= 7) buf[tap.pos++] = (bits & 0x7f) | 0x80;
  let high = Math.floor(magnitude / low);
  for (; high > 0x7f; high = Math.floor(high / 128)) buf[tap.pos++] = (high & 0x7f) | 0x80;
  buf[tap.pos++] = high;
}
