import { SpoolError, type ErrorCode } from '@spool/schemas';
import type { Request, Response } from 'express';
import type { Logger } from 'pino';
import { anonymous, type Principal } from './roles.js';
import type { StreamContext } from './route.js';
import { continueTrace, type Trace } from './trace.js';

/** One request and its answer under way. What few handlers ask for (signal, trace, log) is made when asked for. */
export class Exchange implements StreamContext {
  body: unknown = undefined;
  bytes: Buffer = Buffer.alloc(0);
  params: unknown = undefined;
  query: unknown = undefined;
  headers: unknown = undefined;
  principal: Principal = anonymous;
  deadline = Infinity;
  /** Whether what is asked for changes nothing. */
  safe = true;
  /** The client left before the answer was whole. */
  gone = false;
  /** The path of the route's declaration, for metrics; not the path that was asked for, of which there are too many. */
  template = 'unmatched';
  #controller: AbortController | undefined;
  #aborted: SpoolError | undefined;
  #trace: Trace | undefined;
  #log: Logger | undefined;

  constructor(
    readonly request: Request,
    readonly response: Response,
    /** When it was read, in milliseconds of `performance.now`. */
    readonly arrivedAt: number,
    private readonly rootLog: Logger,
  ) {}

  get path(): string {
    const { originalUrl } = this.request;
    const end = originalUrl.indexOf('?');
    return end < 0 ? originalUrl : originalUrl.slice(0, end);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted);
    }
    return this.#controller.signal;
  }

  get traceId(): string {
    return this.trace().traceId;
  }

  get traceparent(): string {
    return this.trace().traceparent;
  }

  get log(): Logger {
    return (this.#log ??= this.rootLog.child({ traceId: this.traceId, route: this.template }));
  }

  /** What the handler was told to stop for. */
  get aborted(): SpoolError | undefined {
    return this.#aborted;
  }

  /** Tells the handler to stop; the first reason stays. */
  abort(code: ErrorCode, why: string): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = new SpoolError(code, why);
    this.#controller?.abort(this.#aborted);
  }

  private trace(): Trace {
    const { traceparent } = this.request.headers;
    return (this.#trace ??= continueTrace(typeof traceparent === 'string' ? traceparent : undefined));
  }
}
