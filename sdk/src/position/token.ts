import { SpoolError } from '@spool/schemas';
import { offset, type Offset, type RecordPosition } from '@spool/streams';

/**
 * A position token: the vector of `topic-partition -> next offset` that a change reached, as a string that callers hand back unread.
 * There is no order between partitions and the token claims none.
 */
export type PositionToken = string;

export function toToken(positions: ReadonlyMap<string, Offset>): PositionToken {
  return encoded([...positions].map(([key, at]) => `${key}:${at}`).join(','));
}
const encoded = (text: string): PositionToken => Buffer.from(text).toString('base64url');

/** The token of the moment after these records. */
export function tokenAfter(records: readonly RecordPosition[]): PositionToken {
  const [only] = records;
  if (only !== undefined && records.length === 1) return encoded(`${only.topic}-${only.partition}:${only.offset + 1n}`);
  const positions = new Map<string, Offset>();
  for (const at of records) {
    const key = `${at.topic}-${at.partition}`;
    const next = at.offset + 1n;
    if (next > (positions.get(key) ?? 0n)) positions.set(key, next as Offset);
  }
  return toToken(positions);
}

/** @throws SpoolError INVALID_REQUEST */
export function fromToken(token: PositionToken): ReadonlyMap<string, Offset> {
  const positions = new Map<string, Offset>();
  if (token === '') return positions;
  for (const pair of Buffer.from(token, 'base64url').toString().split(',')) {
    const match = /^(.+-\d+):(\d{1,19})$/.exec(pair);
    if (match === null)
      throw new SpoolError('INVALID_REQUEST', 'after is not a position token', {
        violations: [{ pointer: '/after', message: 'not a position token' }],
      });
    positions.set(match[1]!, offset(match[2]!));
  }
  return positions;
}

/** Of the partitions that both know, none lies behind. */
export function reached(positions: ReadonlyMap<string, Offset>, token: ReadonlyMap<string, Offset>): boolean {
  for (const [key, wanted] of token) {
    const at = positions.get(key);
    if (at !== undefined && at < wanted) return false;
  }
  return true;
}
