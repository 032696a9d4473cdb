import { randomFillSync } from 'node:crypto';

const pool = Buffer.alloc(24 * 512);
let next = pool.length;

/** Random bytes for ids, to be used at once. They are drawn in large pieces: a call of its own for each id costs more than the rest of it. */
export function randomIdBytes(bytes: number): Buffer {
  if (next + bytes > pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  return pool.subarray(next, (next += bytes));
}
