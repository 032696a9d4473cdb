import type { BundleSignal } from '@spool/schemas';

/** One look at an instance. */
export interface Look {
  readonly at: number;
  readonly arrived: number;
  readonly departed: number;
  /** Records that wait. */
  readonly waiting: number;
}

export interface FeelingBounds {
  /** Arrivals count while more than this wait, and more than was handled since the look before. @default 100; a lower one makes bursts hurt that are over at once */
  readonly most?: number;
  /** Departures count while fewer than this wait. @default 1; a higher one makes an instance bored that still has work */
  readonly least?: number;
  /** After so many of them in a row the instance suffers, or is bored. @default 200 */
  readonly count?: number;
  /** So long without an arrival makes it bored, too. Milliseconds. @default 60000 */
  readonly idleMs?: number;
}

/**
 * What arrivals and departures make an instance feel. Each feeling is a latch: it holds until the other bound is crossed, so that an instance at a
 * bound does not change its mind with every look.
 */
export function createFeeling({ most = 100, least = 1, count = 200, idleMs = 60_000 }: FeelingBounds = {}) {
  let feeling: Exclude<BundleSignal['feeling'], 'unknown'> = 'content';
  let above = 0;
  let below = 0;
  let arrivedAt: number | undefined;
  return ({ at, arrived, departed, waiting }: Look): typeof feeling => {
    if (arrived > 0) arrivedAt = at;
    arrivedAt ??= at;
    // Under a steady load something always waits: what matters is how much it is beside what is handled.
    const isMuch = waiting > Math.max(most, departed);
    above = isMuch ? above + arrived : 0;
    below = waiting < least ? below + departed : 0;
    if (above >= count) feeling = 'suffering';
    else if (feeling === 'suffering' && waiting < Math.max(least, departed / 10)) feeling = 'content';
    if (feeling !== 'suffering') {
      if (below >= count || at - arrivedAt >= idleMs) feeling = 'bored';
      else if (feeling === 'bored' && isMuch) feeling = 'content';
    }
    return feeling;
  };
}
