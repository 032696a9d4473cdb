import type { Logger } from 'pino';
import { SpoolError } from '@spool/schemas';
import type { Auth } from './auth/auth.js';
import type { Exchange } from './exchange.js';
import type { HttpLimits } from './limits.js';
import type { Rates } from './rates.js';

/** What the requests of one server share. */
export interface Edge {
  readonly auth: Auth;
  readonly limits: HttpLimits;
  readonly rates: Rates;
  readonly log: Logger;
  readonly checkReplies: boolean;
  readonly traffic: Traffic;
}

/** The requests under way. Each is in one of the two sets until its handler has ended, even if it was answered before. */
export class Traffic {
  readonly handling = new Set<Exchange>();
  readonly streaming = new Set<Exchange>();
  closing = false;

  constructor(private readonly limits: Pick<HttpLimits, 'maxInFlight' | 'maxStreams'>) {}

  /** @throws SpoolError OVERLOADED, or UNAVAILABLE while the server closes */
  enter(exchange: Exchange, stream: boolean): void {
    if (this.closing) throw new SpoolError('UNAVAILABLE', 'This instance is stopping', { retryAfterMs: 1000 });
    const [place, most] = stream ? [this.streaming, this.limits.maxStreams] : [this.handling, this.limits.maxInFlight];
    if (place.size >= most)
      throw new SpoolError('OVERLOADED', `${most} ${stream ? 'streams are open' : 'requests are in flight'} already`, {
        retryAfterMs: 1000,
      });
    place.add(exchange);
  }

  leave(exchange: Exchange): void {
    this.handling.delete(exchange);
    this.streaming.delete(exchange);
  }
}
