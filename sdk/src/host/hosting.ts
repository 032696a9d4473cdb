import type { ReadMeta } from '@spool/schemas';
import type { Instance } from '@spool/streams';
import type { Bundle } from '../bundle/bundle.js';
import type { AskOptions } from '../gateway/messages.js';
import { intercept, type Intercepted } from '../interceptor/interceptor.js';
import type { PostgresDatabase } from '../postgres/database.js';
import type { Events } from '../routed/events.js';
import type { Aliases } from '../registry/aliases.js';
import type { Answered, ReplySender } from './replying.js';

/** A query that came another way than Kafka. */
export interface AskedHere {
  readonly type: string;
  readonly value: Buffer;
  readonly meta: ReadMeta;
  /** The position that the answer must reflect. */
  readonly after: string | undefined;
}

/** A streaming command. */
export interface AskedStream {
  readonly value: Buffer;
  readonly meta: ReadMeta;
  /** How many elements the caller has. */
  readonly after: number;
}
export interface StreamElement {
  readonly type: string;
  readonly value: Buffer;
}

/** What this process answers by itself, for calls that come another way than Kafka. */
export interface Here {
  /** By type of query. @throws what `ask` does */
  readonly queries: Map<string, (asked: AskedHere, signal: AbortSignal) => Promise<Answered>>;
  /** By type of command. */
  readonly streams: Map<
    string,
    {
      readonly events: ReadonlySet<string>;
      readonly resumable: boolean;
      open(asked: AskedStream, signal: AbortSignal): AsyncGenerator<StreamElement, undefined>;
    }
  >;
}

/** What the host of a component works with. */
export interface Hosting {
  readonly bundle: Bundle;
  readonly instance: Instance;
  readonly replies: ReplySender;
  readonly events: Events;
  /** How long outcomes are kept for repeated commands, in milliseconds. */
  readonly outcomeRetentionMs: number;
  /** See `BundleConfig.transactions`. */
  readonly transactions: 'instance' | 'partition';
  /** See `BundleConfig.sessionTimeoutMs`. */
  readonly sessionTimeoutMs?: number | undefined;
  /** Which copies of read models there are, and which of them answers. */
  readonly aliases: Aliases;
  /** See `BundleConfig.postgres`. */
  readonly postgres?: PostgresDatabase | undefined;
  readonly here: Here;
}

/** Runs a handler within the interceptors of the bundle. */
export const handled = <T>({ bundle }: Hosting, message: Omit<Intercepted, 'bundle'>, work: () => T | Promise<T>): T | Promise<T> =>
  intercept(bundle.interceptors, () => ({ ...message, bundle: bundle.id }), message.kind, work);

/** What goes on from a message to what it causes. */
export const passedOn = ({ correlationId, traceparent, actor, context }: ReadMeta) => ({
  ...(correlationId === undefined ? {} : { correlationId }),
  ...(traceparent === undefined ? {} : { traceparent }),
  ...(actor === undefined ? {} : { actor }),
  ...(context === undefined ? {} : { context }),
});

/** Of what is sent or asked because of a message; what the handler says itself goes before. */
export const caused = <O extends AskOptions>(cause: ReadMeta, options: O): O => ({
  ...passedOn(cause),
  causationId: cause.id ?? '',
  ...options,
});
