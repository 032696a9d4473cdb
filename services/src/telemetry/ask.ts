import { SpoolError } from '@spool/schemas';
import type { ClickHouse } from './clickhouse.js';

/** A statement that runs cannot be stopped by whoever left, so few run at once and none for long. */
const maxSeconds = 15;
const maxAtOnce = 4;

export type Ask = <T>(sql: string, params: Readonly<Record<string, unknown>>) => Promise<readonly T[]>;

/** Asks on behalf of callers. @throws SpoolError UNAVAILABLE, also when it takes too long; OVERLOADED when too many ask at once */
export function boundedAsk({ rows }: Pick<ClickHouse, 'rows'>): Ask {
  let running = 0;
  return async <T>(sql: string, params: Readonly<Record<string, unknown>>): Promise<readonly T[]> => {
    if (running >= maxAtOnce) throw new SpoolError('OVERLOADED', `${maxAtOnce} searches run already`, { retryAfterMs: 1000 });
    running += 1;
    try {
      return await rows<T>(sql, { params, maxSeconds });
    } finally {
      running -= 1;
    }
  };
}
