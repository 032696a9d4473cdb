import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { SpoolError } from '@spool/schemas';
import { Counter, type Registry } from 'prom-client';
import { answerCrossOrigin } from './guards.js';
import { defaultWaitMs, preferredWait } from './prefer.js';
import { problemMediaType, problemOf, retryAfterSeconds } from './problem.js';
import { continueTrace } from './trace.js';

export interface IntakeOptions {
  /** Paths of what is begun at once, however much waits. */
  readonly open: ReadonlySet<string>;
  /** Requests that wait before more are refused. */
  readonly most: number;
  readonly allowedOrigins: readonly string[];
  /** Gets `spool_http_refused_total`; may be shared by several servers. */
  readonly metrics: Registry;
  /** Milliseconds of a clock that nobody sets. @default performance.now */
  readonly now?: () => number;
  /** Calls back when what can be read now has been read. @default setImmediate */
  readonly afterReading?: (then: () => void) => unknown;
}

export interface Intake {
  readonly listener: RequestListener;
  /** To be told of each new connection. */
  readonly connected: () => void;
  /** Requests that have been read and not begun. */
  readonly waiting: number;
}

/**
 * For so long requests are begun, in milliseconds; then what they have begun goes on, and the loop turns, reads what has come in, and takes the answers of Kafka.
 * A request is begun in a third of the time that it takes in all.
 */
const turnMs = 3;
/** Node accepts one connection in each turn: where some come, the turns are short. */
const turnOfConnectingMs = 1;
/** Who would wait for this part of its time to be begun is refused at once. */
const longestWait = 0.25;
/** Who has waited for this part of its time, though it was to be less, is not begun any more. */
const tooLate = 0.5;
/** How much the latest weighs in what a request takes: that of several turns is to tell. */
const weight = 1 / 512;
const name = 'spool_http_refused_total';

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly arrivedAt: number;
  readonly livesMs: number;
}

/** When a request was read, in milliseconds of `performance.now`; where it goes into express, in the locals of its response. */
export interface Arrived {
  readonly arrivedAt: number;
}

/**
 * Begins requests in the order in which they came, few in each turn of the loop, and refuses those for which it would be too late. Left to itself Node begins whatever
 * it has read: the more there is, the longer a turn, until nothing is answered in time; what waits then waits in sockets, where nobody can tell for how long.
 * Refusing comes before anything is made of a request, or refusing would be what the process is busy with.
 */
export function createIntake(serve: RequestListener, options: IntakeOptions): Intake {
  const { open, most, allowedOrigins, now = () => performance.now(), afterReading = setImmediate } = options;
  const queue: Waiting[] = [];
  /** Those before it have been begun. */
  let first = 0;
  let running = false;
  let connecting = false;
  let until = 0;
  /** How long it takes from one beginning to the next while others wait, whatever else the process does meanwhile. */
  let eachMs = 0;
  let begunAt = 0;

  const existing = options.metrics.getSingleMetric(name);
  const refusals =
    existing instanceof Counter
      ? existing
      : new Counter({ name, help: 'Requests refused before they were begun: too many waited', registers: [options.metrics] });
  const overloaded = new SpoolError('OVERLOADED', 'more requests come in than can be begun in time', { retryAfterMs: 1000 });
  const retryAfter = String(retryAfterSeconds(overloaded));
  const refuse = (request: IncomingMessage, response: ServerResponse): void => {
    refusals.inc();
    if (answerCrossOrigin(request, response, allowedOrigins)) return;
    const { traceId } = continueTrace(headerOf(request, 'traceparent'));
    const body = JSON.stringify(problemOf(overloaded, { path: pathOf(request), traceId }));
    response.writeHead(overloaded.entry.status, {
      'Content-Type': problemMediaType,
      'Content-Length': Buffer.byteLength(body),
      'Retry-After': retryAfter,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
    });
    response.end(body);
  };
  const begin = ({ request, response, arrivedAt }: Pick<Waiting, 'request' | 'response' | 'arrivedAt'>): void => {
    Object.assign(response, { locals: { arrivedAt } satisfies Arrived });
    serve(request, response);
  };

  const turn = (): void => {
    until = now() + (connecting ? turnOfConnectingMs : turnMs);
    connecting = false;
    step();
  };
  const step = (): void => {
    const next = queue[first];
    if (next === undefined) {
      queue.length = first = 0;
      running = false;
      begunAt = 0;
      return;
    }
    const at = now();
    if (at >= until) {
      afterReading(turn);
      return;
    }
    first += 1;
    if (first === 1024) {
      queue.splice(0, first);
      first = 0;
    }
    if (begunAt > 0) eachMs += (at - begunAt - eachMs) * weight;
    begunAt = at;
    if (at - next.arrivedAt > next.livesMs * tooLate) refuse(next.request, next.response);
    else if (!next.response.destroyed) begin(next);
    // When all is done that it can do without waiting: only then is it known how long it took.
    queueMicrotask(() => process.nextTick(step));
  };
  return {
    get waiting() {
      return queue.length - first;
    },
    connected: () => void (connecting = true),
    listener(request, response) {
      const arrivedAt = now();
      if (open.has(pathOf(request))) {
        begin({ request, response, arrivedAt });
        return;
      }
      const livesMs = preferredWait(headerOf(request, 'prefer')) ?? defaultWaitMs;
      const ahead = queue.length - first;
      if (ahead >= most || ahead * eachMs > livesMs * longestWait) {
        refuse(request, response);
        return;
      }
      queue.push({ request, response, arrivedAt, livesMs });
      if (running) return;
      running = true;
      afterReading(turn);
    },
  };
}

function headerOf({ headers }: IncomingMessage, key: 'prefer' | 'traceparent'): string | undefined {
  const value = headers[key];
  return typeof value === 'string' ? value : undefined;
}
function pathOf({ url = '/' }: IncomingMessage): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}
