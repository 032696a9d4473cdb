import type { Reply } from '@spool/schemas';
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
  close(): Promise<void>;
}
