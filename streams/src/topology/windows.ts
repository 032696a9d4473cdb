import { SpoolError } from '@spool/schemas';
import type { Serde } from './serde.js';

/** A key within a window of time: `start` is in it, `end` is not, in milliseconds of record time. */
export interface Windowed<K> {
  readonly key: K;
  readonly start: number;
  readonly end: number;
}

export interface TimeWindows {
  readonly sizeMs: number;
  readonly advanceMs: number;
  readonly graceMs: number;
}

interface WindowOptions {
  readonly sizeMs: number;
  /** How long after its end a window takes late records, in milliseconds of stream time. Short drops them, long keeps state. */
  readonly graceMs: number;
}

/** Windows that follow one another without a gap; each record is in one. @throws SpoolError INVALID_CONFIG */
export const tumbling = ({ sizeMs, graceMs }: WindowOptions): TimeWindows => hopping({ sizeMs, graceMs, advanceMs: sizeMs });

/** Windows that begin every `advanceMs`; a record is in each that covers its time. @throws SpoolError INVALID_CONFIG */
export function hopping(windows: WindowOptions & { readonly advanceMs: number }): TimeWindows {
  const { sizeMs, advanceMs, graceMs } = windows;
  const whole = [sizeMs, advanceMs, graceMs].every((ms) => Number.isSafeInteger(ms));
  if (!whole || sizeMs <= 0 || advanceMs <= 0 || advanceMs > sizeMs || graceMs < 0) {
    throw new SpoolError(
      'INVALID_CONFIG',
      `windows of ${sizeMs} ms every ${advanceMs} ms with a grace of ${graceMs} ms: whole milliseconds are needed, 0 < advance <= size, grace >= 0`,
    );
  }
  return windows;
}

/** The start of the first window that covers a time; the others follow every `advanceMs`. */
export const firstStart = (at: number, { sizeMs, advanceMs }: TimeWindows): number =>
  Math.max(0, Math.floor((at - sizeMs + advanceMs) / advanceMs) * advanceMs);

/** Times in row keys: in order of time, whatever follows. */
const timeDigits = 14;
export const timeText = (at: number): string => String(at).padStart(timeDigits, '0');
export const splitTime = (row: string): [at: number, rest: string] => [Number(row.slice(0, timeDigits)), row.slice(timeDigits)];

/** The key's bytes and then the start of the window in 8 bytes, as Kafka Streams writes it. */
export const windowed = <K>(key: Serde<K>, { sizeMs }: Pick<TimeWindows, 'sizeMs'>): Serde<Windowed<K>> => ({
  encode: (of) => {
    const start = Buffer.allocUnsafe(8);
    start.writeBigInt64BE(BigInt(of.start));
    return Buffer.concat([key.encode(of.key as NonNullable<K>), start]);
  },
  decode: (encoded) => {
    const start = Number(encoded.readBigInt64BE(encoded.length - 8));
    const made = (of: K): Windowed<K> => ({ key: of, start, end: start + sizeMs });
    const decoded = key.decode(encoded.subarray(0, -8));
    return decoded instanceof Promise ? decoded.then(made) : made(decoded);
  },
  ...(key.open === undefined ? {} : { open: async (codec, topic) => windowed(await key.open!(codec, topic), { sizeMs }) }),
});
