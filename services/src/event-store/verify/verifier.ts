import { SpoolError } from '@spool/schemas';
import type { Gateway, Registry } from '@spool/sdk';
import type { Instance } from '@spool/streams';
import { sourcesOf } from '../indexer.js';
import { foldAsker } from '../states.js';
import { chosenSources, verifySource, type VerifyOptions, type VerifyReport } from './verify.js';

export interface VerifyRequest {
  /** @default all aggregates, services and sagas */
  readonly sources: readonly string[];
  /** See `VerifyOptions`. */
  readonly from?: number | undefined;
  /** Compares snapshots with the fold of their events. */
  readonly replay: boolean;
}
export interface Verification extends Pick<VerifyOptions, 'onViolation'> {
  readonly onReport: (report: VerifyReport) => void;
  readonly signal: AbortSignal;
}
export interface Verifier {
  /**
   * One at a time in a process, since it reads the whole log. Resolves with the check, which has not begun; names are checked before.
   * @throws SpoolError OVERLOADED, UNKNOWN_AGGREGATE
   */
  prepare(request: VerifyRequest): Promise<(verification: Verification) => Promise<void>>;
}

export interface VerifierOptions {
  readonly instance: Instance;
  readonly registry: Pick<Registry, 'components'>;
  readonly gateway: Pick<Gateway, 'request'>;
  /** For what a check remembers while it runs. */
  readonly scratchDir: string;
}

export function createVerifier({ instance, registry, gateway, scratchDir }: VerifierOptions): Verifier {
  let running = false;
  const refuseSecond = (): void => {
    if (running) throw new SpoolError('OVERLOADED', 'a verification runs already', { retryAfterMs: 10_000 });
  };
  return {
    async prepare({ sources, from, replay }) {
      refuseSecond();
      const chosen = chosenSources(await sourcesOf(instance, registry.components()), sources);
      return async (verification) => {
        refuseSecond();
        running = true;
        try {
          const { kafka, codec, topics, now } = instance;
          const ask = replay ? foldAsker(instance, gateway) : undefined;
          const shared = { kafka, codec, topics, now, ask, from, scratchDir, ...verification };
          for (const source of chosen) verification.onReport(await verifySource(source, shared));
        } finally {
          running = false;
        }
      };
    },
  };
}
