import { catalogue, type ErrorCode, type ErrorEntry } from './catalogue.js';

/** One thing that is wrong, and where: a JSON pointer into the body, or a name such as a setting or a header. */
export interface Violation {
  readonly pointer: string;
  readonly message: string;
}

export interface SpoolErrorOptions {
  readonly cause?: unknown;
  readonly violations?: readonly Violation[];
  /** Milliseconds after which a retry makes sense; becomes Retry-After. */
  readonly retryAfterMs?: number;
  /** Machine-readable facts for the problem document, such as `actualVersion`. Never secrets. */
  readonly facts?: Readonly<Record<string, string | number | boolean>>;
}

/** The only error class that crosses a package border. `message` says what was wrong and where. */
export class SpoolError extends Error {
  override readonly name = 'SpoolError';
  readonly violations: readonly Violation[];
  readonly retryAfterMs: number | undefined;
  readonly facts: Readonly<Record<string, string | number | boolean>>;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: SpoolErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.violations = options.violations ?? [];
    this.retryAfterMs = options.retryAfterMs;
    this.facts = options.facts ?? {};
  }

  get entry(): ErrorEntry {
    return catalogue[this.code];
  }
}

/** Wraps whatever was thrown; a SpoolError stays as it is. */
export function toSpoolError(thrown: unknown): SpoolError {
  if (thrown instanceof SpoolError) return thrown;
  return new SpoolError('INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
