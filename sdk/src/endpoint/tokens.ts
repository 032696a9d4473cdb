import { SpoolError } from '@spool/schemas';
import { errors, jwtVerify, SignJWT } from 'jose';

/** Who calls, and what it may call with. */
export interface Caller {
  readonly instance: string;
  readonly bundle: string;
  /** Types of the commands and queries that its descriptor declares as sent or asked; nothing else is taken from it. */
  readonly payloads: readonly string[];
}

/** Short-lived proofs of who calls, signed with the key of the cluster. */
export interface Tokens {
  /** A token for one instance, good for a minute; the same for calls that follow soon. */
  issue(instance: string): Promise<string>;
  /** @param authorization the header. @throws SpoolError UNAUTHENTICATED */
  check(authorization: string | undefined): Promise<Caller>;
}

export interface TokensOptions {
  readonly key: Uint8Array;
  /** Who issues: this instance. It checks what is issued for it. */
  readonly self: Caller;
  readonly now: () => number;
}

const lifeSeconds = 60;
/** Clocks of machines differ. */
const toleranceSeconds = 5;
/** Kept for calls that follow; the rest of the minute is for the way. */
const reuseMs = 30_000;
const maxKept = 1000;
const algorithm = 'HS256';

export function createTokens({ key, self, now }: TokensOptions): Tokens {
  const kept = new Map<string, { readonly token: Promise<string>; readonly until: number }>();
  const sign = (instance: string): Promise<string> => {
    const at = Math.floor(now() / 1000);
    return new SignJWT({ bundle: self.bundle, payloads: [...self.payloads] })
      .setProtectedHeader({ alg: algorithm, typ: 'JWT' })
      .setSubject(self.instance)
      .setAudience(instance)
      .setIssuedAt(at)
      .setExpirationTime(at + lifeSeconds)
      .sign(key);
  };
  return {
    issue(instance) {
      const before = kept.get(instance);
      if (before !== undefined && before.until > now()) return before.token;
      if (kept.size >= maxKept) kept.clear();
      const token = sign(instance);
      kept.set(instance, { token, until: now() + reuseMs });
      return token;
    },
    async check(authorization) {
      const [, token] = /^Bearer ([\w.-]{1,16384})$/.exec(authorization ?? '') ?? [];
      if (token === undefined) throw new SpoolError('UNAUTHENTICATED', 'a token of the cluster is missing');
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: [algorithm],
          audience: self.instance,
          maxTokenAge: lifeSeconds,
          clockTolerance: toleranceSeconds,
          currentDate: new Date(now()),
          requiredClaims: ['sub', 'exp', 'iat'],
        });
        const { sub = '', bundle, payloads } = payload;
        if (typeof bundle !== 'string' || !Array.isArray(payloads) || !payloads.every((each) => typeof each === 'string')) {
          throw new SpoolError('UNAUTHENTICATED', 'the token does not say who calls with what');
        }
        return { instance: sub, bundle, payloads };
      } catch (cause) {
        if (!(cause instanceof errors.JOSEError)) throw cause;
        // jose's messages name claims and reasons, never values.
        throw new SpoolError('UNAUTHENTICATED', `the token of the cluster is refused: ${cause.message}`, { cause });
      }
    },
  };
}
