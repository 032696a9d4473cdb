import type { IncomingHttpHeaders } from 'node:http';
import { made } from '../bundle/source.js';
import type { CommandTarget, QueryTarget } from '../messages.js';
import { declared, type Declared, type InvokerContext, type InvokerOptions } from './declared.js';

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** @throws SpoolError MALFORMED_JSON */
  json(): unknown;
}
export interface HttpResponse {
  /** @default 200, or 204 without a body */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Text and bytes as they are, anything else as JSON. */
  readonly body?: unknown;
}

export interface HttpOptions<T extends CommandTarget, Q extends QueryTarget> extends InvokerOptions<T, Q> {
  /** 0: any that is free; `onListening` tells which. */
  readonly port: number;
  /** @default '127.0.0.1': this machine alone */
  readonly host?: string;
  /** Requests for others get 404. @default '/' */
  readonly path?: string;
  /** Others get 405. @default ['POST'] */
  readonly methods?: readonly string[];
  /** Pages of these origins may call it from a browser, such as `https://shop.example`. @default none */
  readonly origins?: readonly string[];
  /** A longer body gets 413. @default 1 MiB */
  readonly maxBodyBytes?: number;
  /** More at once get 503 before any work. @default 64 */
  readonly maxInFlight?: number;
  /** For a whole request, in milliseconds; then it gets 504, and what it still does can send nothing. @default 10000 */
  readonly timeoutMs?: number;
  readonly onListening?: (url: string) => void;
  /**
   * Errors become problem documents (RFC 9457). With an Idempotency-Key the commands have the same ids when the caller tries again
   * (`<invoker>/<key>/<n>` in the order of sending): each has its effect once.
   */
  readonly handle: (request: HttpRequest, context: InvokerContext<T, Q>) => Promise<HttpResponse>;
}

type Settings = Required<
  Pick<
    HttpOptions<never, never>,
    'port' | 'host' | 'path' | 'methods' | 'origins' | 'maxBodyBytes' | 'maxInFlight' | 'timeoutMs' | 'onListening'
  >
>;
export interface HttpInvoker<Name extends string = string, Context = never> extends Declared<Name>, Settings {
  readonly way: 'http';
  readonly handle: (request: HttpRequest, context: Context) => Promise<HttpResponse>;
}

/** An invoker that serves an HTTP endpoint of its own, in each instance of the bundle. */
export const http = <const Name extends string, T extends CommandTarget = never, Q extends QueryTarget = never>(
  name: Name,
  options: HttpOptions<T, Q>,
): HttpInvoker<Name, InvokerContext<T, Q>> =>
  made<HttpInvoker<Name, InvokerContext<T, Q>>>(http, {
    ...declared(name, options),
    way: 'http',
    port: options.port,
    host: options.host ?? '127.0.0.1',
    path: options.path ?? '/',
    methods: options.methods ?? ['POST'],
    origins: options.origins ?? [],
    maxBodyBytes: options.maxBodyBytes ?? 1024 * 1024,
    maxInFlight: options.maxInFlight ?? 64,
    timeoutMs: options.timeoutMs ?? 10_000,
    onListening: options.onListening ?? (() => undefined),
    handle: options.handle,
  });
