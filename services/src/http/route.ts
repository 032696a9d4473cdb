import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorCode } from '@spool/schemas';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { RateClass } from './limits.js';
import type { Principal, RequiredRole } from './roles.js';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** One way in which a route answers when all is well; problems are declared by `errors`. */
export interface ResponseSpec {
  readonly description: string;
  /** Of a JSON body. Without it: a body of `contentType`, or none. */
  readonly schema?: z.ZodType;
  /** @default 'application/json' with a schema; 'text/event-stream' for a stream */
  readonly contentType?: string;
  /** Name and description of headers that matter to the reader. */
  readonly headers?: Readonly<Record<string, string>>;
}
export type Responses = Readonly<Record<number, ResponseSpec>>;
export type ReplyHeaders = Readonly<Record<string, string | readonly string[]>>;

/** Handlers may return what is not theirs to change. */
type Immutable<T> = T extends object ? { readonly [K in keyof T]: Immutable<T[K]> } : T;

/** What a handler returns: one of the declared statuses with the body that was declared for it. */
export type Reply<R extends Responses> = {
  readonly [S in keyof R & number]: R[S] extends { readonly schema: infer Z extends z.ZodType }
    ? { readonly status: S; readonly body: Immutable<z.input<Z>>; readonly headers?: ReplyHeaders }
    : { readonly status: S; readonly body?: string | Uint8Array; readonly headers?: ReplyHeaders };
}[keyof R & number];

type Parsed<S> = S extends z.ZodType ? z.output<S> : undefined;

/** One request, checked: what the schemas made of it, who asks, and until when. */
export interface RequestContext<B = unknown, P = unknown, Q = unknown, H = unknown> {
  readonly body: B;
  /** Of a route with `rawBody`; else empty. */
  readonly bytes: Buffer;
  readonly params: P;
  readonly query: Q;
  /** Only the declared ones; their names are in lower case. */
  readonly headers: H;
  readonly principal: Principal;
  /** Fires when the client goes away, the deadline passes or the server closes; its reason is a SpoolError. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch; Infinity for streams. The edge answers by itself half a second later. */
  readonly deadline: number;
  /** When it was read, in milliseconds of `performance.now`. */
  readonly arrivedAt: number;
  /** As requested, without the query. */
  readonly path: string;
  readonly traceId: string;
  /** W3C header to pass on. */
  readonly traceparent: string;
  /** With the trace id bound. */
  readonly log: Logger;
}

/** For handlers that write the answer themselves; what they throw before the first byte becomes a problem document. */
export interface StreamContext<B = unknown, P = unknown, Q = unknown, H = unknown> extends RequestContext<B, P, Q, H> {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

interface Declaration<B, P, Q, H, R extends Responses> {
  readonly method: Method;
  /** OpenAPI's form: `/api/v1/aggregates/{type}/{id}`. A parameter takes one segment, percent-decoded. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  /** Groups the pages at /docs. @default the first segment after /api/v1 */
  readonly tag?: string;
  /** Who may call it; see roles.ts for what implies what. A route without one does not start. */
  readonly role: RequiredRole;
  /** Of the JSON body. Use `z.strictObject`, so that a misspelt field is refused. */
  readonly body?: B;
  /** In place of `body`: it comes as bytes, of any of these content types (the widest range takes all), each with what it holds. */
  readonly rawBody?: Readonly<Record<string, z.ZodType>>;
  /** One entry for each `{name}` of the path. */
  readonly params?: P;
  /** Values arrive as text (or as a list if repeated): use `z.coerce`. Names that are not declared are refused. */
  readonly query?: Q;
  /** Names in lower case. Other headers are ignored. */
  readonly headers?: H;
  readonly responses: R;
  /** What the handler may throw; the edge adds what it refuses by itself. */
  readonly errors?: readonly ErrorCode[];
  /** @default 'standard' */
  readonly rateClass?: RateClass;
  /** Content types of the body. @default application/json and application/cloudevents+json */
  readonly bodyTypes?: readonly string[];
  /** Largest body in bytes. @default limits.bodyBytes */
  readonly bodyBytes?: number;
  /** @default limits.handlerTimeoutMs */
  readonly timeoutMs?: number;
  /** Whether it changes nothing; then a deadline means EXPIRED, else INDETERMINATE. @default true for GET */
  readonly safe?: boolean;
}

interface Handling<B, P, Q, H, T, S extends boolean> {
  /** The handler writes to `context.response` itself (see `openEventStream`) and may take as long as it likes. @default false */
  readonly stream?: S;
  handler(
    context: S extends true
      ? StreamContext<Parsed<B>, Parsed<P>, Parsed<Q>, Parsed<H>>
      : RequestContext<Parsed<B>, Parsed<P>, Parsed<Q>, Parsed<H>>,
  ): S extends true ? Promise<void> : Promise<T> | T;
}

/** A reply whose types are forgotten; the edge checks its status against the declared ones. */
export interface AnyReply {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: ReplyHeaders;
}

/** A declared route, its types forgotten. Made by `route` alone. */
export interface Route extends Declaration<z.ZodType, z.ZodObject, z.ZodObject, z.ZodObject, Responses> {
  readonly stream?: boolean;
  readonly handler: (context: StreamContext) => Promise<AnyReply | undefined> | AnyReply;
}

type Schema = z.ZodType | undefined;
type ObjectSchema = z.ZodObject | undefined;

/**
 * Declares a route: the router, the checks of the input, the role check, the rate limit and OpenAPI are all made from this. Nothing is
 * checked before `startHttp`, which lists every mistake of all routes at once.
 */
export function route<
  B extends Schema = undefined,
  P extends ObjectSchema = undefined,
  Q extends ObjectSchema = undefined,
  H extends ObjectSchema = undefined,
  const R extends Responses = Responses,
  const S extends boolean = false,
  const T extends Reply<R> = Reply<R>,
>(declaration: Declaration<B, P, Q, H, R> & Handling<B, P, Q, H, T, S>): Route {
  return declaration as unknown as Route;
}
