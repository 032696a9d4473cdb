import type { SpoolError } from '@spool/schemas';
import type { ChildState, SupervisedChild } from '../supervisor/supervise.js';

/** One part of the platform on this machine: something that is started, or something elsewhere that is used. */
export interface Part {
  readonly name: string;
  /** What people connect to, once it is ready. */
  readonly address: string;
  /** Parts of a lower stage are ready before this one starts, and stop after it. Those of one stage start side by side. */
  readonly stage: number;
  /** Whether the platform ends when this part has failed for good. */
  readonly essential: boolean;
  /** Undefined for a part that runs elsewhere. Aborting the signal stops the children, also while they start. */
  readonly start: ((context: StartContext) => Promise<readonly SupervisedChild[]>) | undefined;
  /** Starts one more instance of a bundle, of which there may be several. */
  readonly startFurther?: (instance: string, context: StartContext) => Promise<readonly SupervisedChild[]>;
}

export interface StartContext {
  readonly signal: AbortSignal;
  readonly onState: (child: string, state: ChildState) => void;
}

/** All parts of a platform, running. */
export interface RunningParts extends AsyncDisposable {
  readonly children: readonly SupervisedChild[];
  /** Resolves with the error of the first essential part that failed for good; with undefined when closed. */
  readonly failed: Promise<SpoolError | undefined>;
  /** Stops the parts, the highest stage first. */
  close(): Promise<void>;
}
