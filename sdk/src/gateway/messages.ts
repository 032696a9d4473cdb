import type { PayloadOf, Reply, SentMeta } from '@spool/schemas';
import type { CommandTarget, QueryTarget } from '../messages.js';
import type { Payloads, Queries } from '../payloads.js';
import type { PositionToken } from '../position/token.js';

/** Exactly this one; `none` (or 0): it must not exist; `exists`: it must; `any`: whatever it is. */
export type ExpectedVersion = number | 'any' | 'none' | 'exists';
export type Priority = 'high' | 'normal' | 'low';

export interface SendOptions {
  /** The same id is applied at most once; a repetition gets the recorded outcome. @default a fresh UUID */
  readonly commandId?: string;
  /** Under a command id that another command had, it is refused with IDEMPOTENCY_KEY_REUSED; both must ask for it. @default false: it gets the other's outcome */
  readonly refuseReuse?: boolean;
  /** The version that the aggregate must have. @default 'any' */
  readonly expectedVersion?: ExpectedVersion;
  /** How long to wait, in milliseconds; no work is begun after it. @default 10000 */
  readonly timeoutMs?: number;
  readonly correlationId?: string;
  readonly causationId?: string;
  /** W3C. @default a new trace */
  readonly traceparent?: string;
  /** Who asked for it. */
  readonly actor?: string;
  /** See `ContextOptions`. @default 'default' */
  readonly context?: string;
  /** Of a command to a service: urgent work overtakes, and leaves the rest its share. @default 'normal' */
  readonly priority?: Priority;
}
export interface AskOptions extends Omit<SendOptions, 'commandId' | 'refuseReuse' | 'expectedVersion' | 'priority'> {
  /** The answer reflects at least this position. */
  readonly after?: PositionToken;
}

export interface CommandResult {
  readonly status: 'applied' | 'duplicate';
  readonly commandId: string;
  readonly aggregateId: string;
  /** Version of the aggregate after the command. */
  readonly version: number;
  readonly events: readonly { readonly id: string; readonly type: string; readonly version: number }[];
  /** Hand it to a query's `after`. */
  readonly position: PositionToken;
}
export interface Answer<View = unknown> {
  readonly view: View;
  /** The position that the answer reflects. */
  readonly position: PositionToken;
}

export interface SubscribeQueryOptions extends AskOptions {
  /** Ends the subscription: the iteration is over then. */
  readonly signal?: AbortSignal;
  /** An instance that serves it and hears nothing of it for so long forgets it; it is renewed by itself. Milliseconds. @default 15000 */
  readonly leaseMs?: number;
}
/** The answers to a query as they change. It begins with the first `next`, and ends with its signal or with `break`. */
export interface QuerySubscription<View = unknown> extends AsyncIterableIterator<Answer<View>, undefined>, AsyncDisposable {
  next(): Promise<IteratorResult<Answer<View>, undefined>>;
  return(): Promise<IteratorReturnResult<undefined>>;
  [Symbol.asyncIterator](): QuerySubscription<View>;
}

export interface CommandGateway {
  /**
   * Sends a command to an aggregate or a service of this program's knowledge, typed.
   * @param id of the aggregate; of a service, the lock under which it works, or null for none.
   * @throws SpoolError INVALID_PAYLOAD, REJECTED, VERSION_CONFLICT (fact `actualVersion`), EXPIRED, INDETERMINATE, OVERLOADED.
   */
  send<C extends Payloads, K extends keyof C & string>(
    target: CommandTarget<string, C>,
    type: K,
    id: string | null,
    payload: PayloadOf<C[K]>,
    options?: SendOptions,
  ): Promise<CommandResult>;
  /** Sends a command by its type, as the registry knows it, with a plain JSON payload. @throws also UNKNOWN_COMMAND. */
  sendJson(type: string, id: string | null, payload: unknown, options?: SendOptions): Promise<CommandResult>;
  /** As `sendJson`, but resolves with the command id as soon as the command is in the log. It counts as in flight until it is decided. */
  postJson(type: string, id: string | null, payload: unknown, options?: SendOptions): Promise<string>;
}
export interface QueryGateway {
  /** Asks a query of this program's knowledge, typed. @throws SpoolError INVALID_PAYLOAD, NOT_FOUND, EXPIRED, INDETERMINATE, OVERLOADED. */
  ask<Q extends Queries, K extends keyof Q & string>(
    projection: QueryTarget<string, Q>,
    type: K,
    request: PayloadOf<Q[K]['request']>,
    options?: AskOptions,
  ): Promise<Answer<PayloadOf<Q[K]['view']>>>;
  /** Asks a query by its type, as the registry knows it, with plain JSON. @throws also UNKNOWN_QUERY. */
  askJson(type: string, request: unknown, options?: AskOptions): Promise<Answer>;
}

export interface Gateway extends CommandGateway, QueryGateway {
  /**
   * The answer to a query, and then the latest whenever it has changed by a commit of the read model. When the instance that serves it goes, another
   * takes over. The iteration throws what `ask` would, and INDETERMINATE when nobody has answered for two leases.
   */
  subscribe<Q extends Queries, K extends keyof Q & string>(
    projection: QueryTarget<string, Q>,
    type: K,
    request: PayloadOf<Q[K]['request']>,
    options?: SubscribeQueryOptions,
  ): QuerySubscription<PayloadOf<Q[K]['view']>>;
  /** Subscribes to a query by its type, as the registry knows it, with plain JSON. @throws SpoolError UNKNOWN_QUERY, INVALID_PAYLOAD */
  subscribeJson(type: string, request: unknown, options?: SubscribeQueryOptions): QuerySubscription;
  /** Sends any request and waits for its reply; for the parts of the platform. */
  request(message: RequestMessage): Promise<Reply>;
}
/** What a request hands on; all else is the gateway's. */
export type RequestMeta = Pick<SentMeta, 'correlationId' | 'causationId' | 'traceparent' | 'actor' | 'context' | 'expectedVersion'>;
/** Asks for updates too. */
export interface SubscribeRequest {
  readonly id: string;
  /** How long it lasts unless it is asked again, in milliseconds; 0 ends it. */
  readonly leaseMs: number;
}
export interface RequestMessage {
  readonly topic: string;
  /** Chooses the partition; null: any. */
  readonly key: string | null;
  /** @default by the key */
  readonly partition?: number;
  readonly type: string;
  readonly id: string;
  readonly value: Buffer;
  readonly timeoutMs?: number | undefined;
  readonly meta?: RequestMeta;
  readonly after?: PositionToken | undefined;
  readonly subscribe?: SubscribeRequest;
  readonly refuseReuse?: boolean | undefined;
}
