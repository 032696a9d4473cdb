import { setTimeout as sleep } from 'node:timers/promises';
import { catalogue, SpoolError, toSpoolError, type ErrorCode } from '@spool/schemas';
import { EventSourceParserStream } from 'eventsource-parser/stream';

/** The HTTP API of a platform, as the command line uses it. */
export interface PlatformApi {
  /** @throws SpoolError as the platform refuses it; UNAVAILABLE when nobody answers there */
  get<T>(path: string, query?: Query): Promise<T>;
  post<T>(path: string, body: object): Promise<T>;
  /** All pages of a list, up to `most` items. */
  pages<T>(path: string, query: Query, most: number): Promise<readonly T[]>;
  /** Server-sent events, until the signal ends them. A connection that was lost is made anew, and goes on behind the last event. */
  follow(path: string, query?: Query): AsyncGenerator<{ readonly event: string; readonly data: unknown }, void>;
  /** The answer as it comes, a line each. */
  lines(path: string): AsyncGenerator<string, void>;
}
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface PlatformApiOptions {
  /** Such as `http://127.0.0.1:8080`, with the path under which it is served. */
  readonly url: string;
  /** An API key, or a token of the identity provider. @default none is sent */
  readonly apiKey?: string | undefined;
  readonly signal: AbortSignal;
}

const timeoutMs = 30_000;
const pageMost = 200;
/** A platform that restarts is back by then. */
const reconnects = { most: 60, everyMs: 1_000 };

/** @throws SpoolError INVALID_REQUEST if the URL is none */
export function openPlatformApi({ url, apiKey, signal }: PlatformApiOptions): PlatformApi {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url))
    throw new SpoolError('INVALID_REQUEST', `${url}: expected the URL of a platform, such as http://127.0.0.1:8080 (--url, SPOOL_URL)`);
  const credentials: Record<string, string> = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  const ask = async (path: string, query: Query, init: RequestInit): Promise<Response> => {
    const at = new URL(`${url.replace(/\/+$/, '')}/api/v1${path}`);
    for (const [name, value] of Object.entries(query)) for (const each of [value ?? []].flat()) at.searchParams.append(name, each);
    let answer: Response;
    try {
      answer = await fetch(at, { ...init, headers: { ...credentials, ...(init.headers as Record<string, string> | undefined) } });
    } catch (cause) {
      if (signal.aborted) throw new SpoolError('UNAVAILABLE', 'stopped before an answer came', { cause });
      throw new SpoolError('UNAVAILABLE', `nobody answers at ${url}: is the platform running there? (--url, SPOOL_URL)`, { cause });
    }
    if (!answer.ok) throw refusal(answer.status, await answer.text().catch(() => ''));
    return answer;
  };
  const soon = (): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const answerOf = async <T>(path: string, query: Query, init: RequestInit): Promise<T> => {
    const answer = await ask(path, query, { ...init, signal: soon() });
    try {
      return (await answer.json()) as T;
    } catch (cause) {
      throw new SpoolError('UNAVAILABLE', `what answers at ${url} is not a platform of Spool`, { cause });
    }
  };
  const get = <T>(path: string, query: Query = {}): Promise<T> => answerOf<T>(path, query, {});
  const streamed = async (path: string, query: Query, headers: Record<string, string>): Promise<ReadableStream<string>> =>
    (await ask(path, query, { headers, signal })).body!.pipeThrough(new TextDecoderStream());
  return {
    get,
    post: <T>(path: string, body: object) =>
      answerOf<T>(path, {}, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    async pages<T>(path: string, query: Query, most: number) {
      const found: T[] = [];
      let cursor: string | undefined;
      do {
        const limit = String(Math.min(pageMost, most - found.length));
        const page: { items: readonly T[]; nextCursor?: string } = await get(path, { ...query, limit, cursor });
        found.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== undefined && found.length < most);
      return found;
    },
    async *follow(path, query = {}) {
      let last: string | undefined;
      let connected = false;
      const isStopped = (): boolean => signal.aborted;
      for (let lost = 0; !isStopped(); lost++) {
        try {
          const headers = { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) };
          const stream = await streamed(path, query, headers);
          connected = true;
          for await (const { id, event = 'message', data } of stream.pipeThrough(new EventSourceParserStream())) {
            lost = 0;
            last = id ?? last;
            yield { event, data: JSON.parse(data) as unknown };
          }
          if (lost === reconnects.most) throw new SpoolError('UNAVAILABLE', `the connection to ${url} ends again and again`);
        } catch (thrown) {
          if (isStopped()) return;
          // What is no error of ours is a connection that was cut.
          const isOver = thrown instanceof SpoolError && thrown.entry.retryable !== 'backoff';
          if (!connected || isOver || lost >= reconnects.most) throw toSpoolError(thrown);
        }
        await sleep(reconnects.everyMs, undefined, { signal }).catch(() => undefined);
      }
    },
    async *lines(path) {
      let rest = '';
      try {
        for await (const text of await streamed(path, {}, { accept: 'application/x-ndjson' })) {
          const all = (rest + text).split('\n');
          rest = all.pop()!;
          yield* all;
        }
      } catch (thrown) {
        if (thrown instanceof SpoolError) throw thrown;
        throw new SpoolError('UNAVAILABLE', `the connection to ${url} ended before the last line`, { cause: thrown });
      }
      if (rest !== '') yield rest;
    },
  };
}

/** Whether the platform, and not this program, says so. */
export const isRefusal = ({ facts }: SpoolError): boolean => 'status' in facts;

/** The problem document as the error that it was on the other side. */
function refusal(status: number, text: string): SpoolError {
  let problem: { code?: string; detail?: string; errors?: readonly { pointer: string; detail: string }[] } = {};
  try {
    problem = JSON.parse(text) as typeof problem;
  } catch {
    // Whoever stands before the platform has answered.
  }
  const { code = '', detail = `status ${status}: ${text.slice(0, 200)}`, errors = [] } = problem;
  const known = Object.hasOwn(catalogue, code) ? (code as ErrorCode) : status < 500 ? 'INVALID_REQUEST' : 'UNAVAILABLE';
  const violations = errors.map((each) => ({ pointer: each.pointer, message: each.detail }));
  return new SpoolError(known, detail, { violations, facts: { status } });
}
