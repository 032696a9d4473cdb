import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Request, Response } from 'express';
import { ipKeyGenerator, MemoryStore, rateLimit } from 'express-rate-limit';
import type { HttpLimits, RateClass } from './limits.js';
import type { Principal } from './roles.js';

export interface Rates {
  /**
   * Counts a request for its principal, or for its address where nobody is known, and sets the RateLimit headers (draft 7).
   * @throws SpoolError RATE_LIMITED
   */
  count(request: Request, response: Response, rateClass: RateClass, principal: Principal | undefined): Promise<void>;
  close(): void;
}

interface Counted {
  rateKey: string;
}

/** Counts are of this process; behind a balancer each instance counts its own share. */
export function createRates(limits: HttpLimits['rates']): Rates {
  const stores = { standard: new MemoryStore(), costly: new MemoryStore() };
  const limiter = (name: keyof typeof stores) =>
    rateLimit({
      ...limits[name],
      store: stores[name],
      standardHeaders: 'draft-7',
      legacyHeaders: false,
      // Its checks write to the console and look for mistakes that cannot be made from outside.
      validate: false,
      keyGenerator: (_request, response) => (response.locals as Counted).rateKey,
      handler: (_request, response, next) => {
        const seconds = Number(response.getHeader('Retry-After') ?? 1);
        next(
          new SpoolError('RATE_LIMITED', `More than ${limits[name].limit} requests in ${limits[name].windowMs / 1000} s`, {
            retryAfterMs: seconds * 1000,
          }),
        );
      },
    });
  const limiters = { standard: limiter('standard'), costly: limiter('costly') };
  return {
    count: async (request, response, rateClass, principal) => {
      if (rateClass === 'unlimited') return;
      const known = principal !== undefined && principal.via !== 'nothing';
      (response.locals as Counted).rateKey = known ? `${principal.via}:${principal.id}` : `address:${ipKeyGenerator(request.ip ?? '')}`;
      await new Promise<void>((resolve, reject) => {
        void limiters[rateClass](request, response, (failure?: unknown) => {
          if (failure === undefined) resolve();
          else reject(toSpoolError(failure));
        });
      });
    },
    close: () => {
      for (const store of Object.values(stores)) store.shutdown();
    },
  };
}
