export type Kind = 'SSE' | 'WebSocket';
export interface ServerConfig {
  readonly name: 'spool' | 'floor';
  readonly brokers: readonly string[];
}
export interface ClientsConfig {
  readonly kind: Kind;
  readonly port: number;
  readonly count: number;
}
/** An order to a server: one event to all; a floor has no event of its own and is told how long it is. */
export interface Fire {
  readonly bytes: number;
}
/** What all clients tell of one event: when each had it, and how many bytes it came in. */
export interface Received {
  readonly at: Float64Array;
  readonly bytes: number;
}

/** Milliseconds, comparable between the processes of one machine. */
export const clock = (): number => performance.timeOrigin + performance.now();
