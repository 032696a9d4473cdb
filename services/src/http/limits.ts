/** `standard` for most routes; `costly` for those that scan or start work; `unlimited` for probes, which must never get a 429. */
export type RateClass = 'standard' | 'costly' | 'unlimited';

export interface Rate {
  /** Requests of one principal, or of one address where nobody is known, in a window. */
  readonly limit: number;
  /** Milliseconds. */
  readonly windowMs: number;
}

export interface HttpLimits {
  /** Largest request body in bytes, after decompression. Bodies are held in memory. @default 1 MiB */
  readonly bodyBytes: number;
  /** All request headers together, in bytes. @default 16 KiB */
  readonly headerBytes: number;
  /** How long the headers may take to arrive, in milliseconds. @default 10000 */
  readonly headersTimeoutMs: number;
  /** How long a whole request may take to arrive, in milliseconds. @default 30000 */
  readonly requestTimeoutMs: number;
  /** How long an idle connection is kept, in milliseconds; more than a balancer before it keeps, or it sees resets. @default 65000 */
  readonly keepAliveTimeoutMs: number;
  /** How long a handler may take, in milliseconds. @default 30000 */
  readonly handlerTimeoutMs: number;
  /** Connections beyond this are closed as soon as they open, without an answer. @default 20000 */
  readonly maxConnections: number;
  /** Requests being handled, streams not counted; more are refused with OVERLOADED. @default 8192 */
  readonly maxInFlight: number;
  /** Open streams, and open web sockets; more of either are refused with OVERLOADED. Each is a file descriptor. @default 10000 */
  readonly maxStreams: number;
  /** How long `close()` waits for handlers before it aborts them, in milliseconds. @default 10000 */
  readonly closeWithinMs: number;
  /** @default standard: 3000000 a minute, costly: 6000 a minute (both far above people, below a runaway loop) */
  readonly rates: Readonly<Record<Exclude<RateClass, 'unlimited'>, Rate>>;
}

export const defaultLimits: HttpLimits = {
  bodyBytes: 1024 * 1024,
  headerBytes: 16 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 65_000,
  handlerTimeoutMs: 30_000,
  maxConnections: 20_000,
  maxInFlight: 8_192,
  maxStreams: 10_000,
  closeWithinMs: 10_000,
  rates: { standard: { limit: 3_000_000, windowMs: 60_000 }, costly: { limit: 6_000, windowMs: 60_000 } },
};
