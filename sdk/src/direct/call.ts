import type { Reply, SpoolError } from '@spool/schemas';
import type { Priority, RequestMeta } from '../gateway/messages.js';

/** A command or a query on its way to another instance. */
export interface Call {
  readonly kind: 'command' | 'query';
  /** Of a command its id: the same for each try, so that it is applied once however often it arrives. */
  readonly id: string;
  readonly type: string;
  /** The aggregate or the lock of a command. */
  readonly key: string | null;
  /** Avro in the Confluent wire format. */
  readonly value: Uint8Array;
  /** How long the caller still waits, in milliseconds: clocks of machines differ. No work is begun after it. */
  readonly timeoutMs: number;
  readonly meta: RequestMeta;
  /** The position that an answer must reflect. */
  readonly after?: string | undefined;
  readonly refuseReuse?: boolean | undefined;
  readonly priority?: Priority | undefined;
}

/** A command that is answered with a stream of events. */
export interface StreamCall extends Pick<Call, 'id' | 'type' | 'value' | 'meta'> {
  /** The types of the events that the caller takes. */
  readonly events: readonly string[];
  /** How many elements it has. */
  readonly after: number;
  /** The number of the last element that may be sent. */
  readonly upTo: number;
}
/** Who takes a stream; the first that is told by `completed` or `failed` is the last. */
export interface StreamSink {
  /** @param number from 1 */
  next(number: number, type: string, value: Uint8Array): void;
  /** @param last the number of the last element */
  completed(last: number): void;
  failed(error: SpoolError): void;
}
export interface StreamLink {
  /** @param upTo the number of the last element that may be sent @param has all up to it have come */
  grant(upTo: number, has: number): void;
  /** Nobody takes it any more. */
  cancel(): void;
}

/** A way to whoever answers. */
export interface CallTransport extends AsyncDisposable {
  /** Calls under way. */
  readonly inFlight: number;
  /**
   * @param signal gives the call up; a command may be applied all the same.
   * @throws SpoolError OVERLOADED, FORBIDDEN, UNKNOWN_COMMAND, UNKNOWN_QUERY; UNAVAILABLE where nobody was reached; INDETERMINATE where the way broke
   *   or the time is up: whether it was carried out is not known then
   */
  call(call: Call, signal?: AbortSignal): Promise<Reply>;
  /** Begins a stream, or goes on with it. What fails is told to the sink. */
  link(call: StreamCall, sink: StreamSink): StreamLink;
  close(): Promise<void>;
}
