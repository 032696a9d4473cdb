import type { PayloadOf, RecordSchema } from '@spool/schemas';
import type { MessageOf, Payloads } from '../payloads.js';

/** What a streaming handler gets beside the command. */
export interface StreamContext {
  readonly commandId: string;
  /**
   * How many elements the caller has: the first to give is the one behind them. Greater than 0 only where the stream is `resumable` and goes on at an
   * instance that did not begin it.
   */
  readonly after: number;
  /** Fires when nobody takes the stream any more. */
  readonly signal: AbortSignal;
  readonly correlationId: string;
  /** See `ContextOptions`. */
  readonly context: string;
  readonly actor: string | undefined;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
}

export interface StreamingOptions<Command extends RecordSchema<unknown>, Events extends Payloads> {
  readonly command: Command;
  readonly events: Events;
  /** It gives the same elements again, and can begin behind any of them: the stream survives its instance. @default false */
  readonly resumable?: boolean;
  /** Gives the events one by one, as fast as they are taken. What it throws ends the stream. */
  readonly handle: (
    command: NoInfer<PayloadOf<Command>>,
    context: StreamContext,
  ) => AsyncIterable<NoInfer<MessageOf<Events>>> | Promise<AsyncIterable<NoInfer<MessageOf<Events>>>>;
}
/** A command that is answered with a stream of events. They are no history: nothing of them is written to the log. */
export interface Streaming<Command extends RecordSchema<unknown> = RecordSchema<unknown>, Events extends Payloads = Payloads> {
  readonly command: Command;
  readonly events: Events;
  readonly resumable: boolean;
  handle(
    command: never,
    context: StreamContext,
  ):
    | AsyncIterable<{ readonly type: string; readonly data: unknown }>
    | Promise<AsyncIterable<{ readonly type: string; readonly data: unknown }>>;
}
/** By the type of the command. */
export type Streams = Readonly<Record<string, Streaming>>;

/** A streaming handler, for `streams` of a service. */
export const streaming = <Command extends RecordSchema<unknown>, Events extends Payloads>({
  resumable = false,
  ...options
}: StreamingOptions<Command, Events>): Streaming<Command, Events> => ({ ...options, resumable });
