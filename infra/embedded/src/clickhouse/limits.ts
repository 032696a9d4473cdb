/** Bounds on what one statement, and all of them together, may take. */
export interface Limits {
  /** Statements of one role that run at a time; the others wait. */
  readonly concurrency: number;
  /** Statements of one role that may wait; further ones are refused with code 202. */
  readonly waiting: number;
  /** How long one waits before it is refused with code 202, in milliseconds. */
  readonly waitMs: number;
  /** How long a statement may run before it is killed, by role, in milliseconds. */
  readonly deadlineMs: { readonly writer: number; readonly reader: number };
  /** What the engine itself enforces on the read-only user; a request may lower each, and 0 or more than this means this. */
  readonly reader: Readonly<Record<string, number>>;
  /** A result is built whole before its first byte is sent, so it must fit in memory. */
  readonly maxResultBytes: number;
  /** A statement without its data, in bytes. */
  readonly maxQueryBytes: number;
  /** The data of one INSERT, decoded, in bytes. */
  readonly maxBodyBytes: number;
  /** Sessions of the writing user that are kept. */
  readonly sessions: number;
}

const MiB = 1024 * 1024;

/** @param threads of libuv: each running statement holds one, and two stay free for cancelling, files and compression. */
export const defaultLimits = (threads: number): Limits => ({
  concurrency: Math.max(1, Math.min(4, Math.floor((threads - 2) / 2))),
  waiting: 64,
  waitMs: 10_000,
  deadlineMs: { writer: 600_000, reader: 70_000 },
  reader: {
    max_execution_time: 60,
    max_memory_usage: 2048 * MiB,
    max_result_rows: 5_000_000,
    max_result_bytes: 256 * MiB,
  },
  maxResultBytes: 1024 * MiB,
  maxQueryBytes: 16 * MiB,
  maxBodyBytes: 1024 * MiB,
  sessions: 64,
});
