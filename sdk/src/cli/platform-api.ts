import { catalogue, SpoolError, type ErrorCode } from '@spool/schemas';
import { EventSourceParserStream } from 'eventsource-parser/stream';

/** The HTTP API of a platform, as the command line uses it. */
export interface PlatformApi {
  /** @throws SpoolError as the platform refuses it; UNAVAILABLE when nobody answers there */
  get<T>(path: string, query?: Query): Promise<T>;
  post<T>(path: string, body: object, headers?: Readonly<Record<string, string>>): Promise<T>;
  /** Server-sent events, until the server or the signal ends them. */
  follow(path: string, query?: Query): AsyncGenerator<{ readonly event: string; readonly data: unknown }, void>;
  /** The answer as it comes, a line each. */
  lines(path: string): AsyncGenerator<string, void>;
}
export type Query = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface PlatformApiOptions {
  /** Such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** @default none is sent */
  readonly apiKey?: string | undefined;
  readonly signal: AbortSignal;
}

const timeoutMs = 30_000;

export function openPlatformApi({ url, apiKey, signal }: PlatformApiOptions): PlatformApi {
  const credentials: Record<string, string> = apiKey === undefined ? {} : { 'x-api-key': apiKey };
  const ask = async (path: string, query: Query, init: RequestInit): Promise<Response> => {
    const at = new URL(`/api/v1${path}`, url);
    for (const [name, value] of Object.entries(query)) for (const each of [value ?? []].flat()) at.searchParams.append(name, each);
    let answer: Response;
    try {
      answer = await fetch(at, { ...init, headers: { ...credentials, ...(init.headers as Record<string, string> | undefined) } });
    } catch (cause) {
      if (signal.aborted) throw new SpoolError('UNAVAILABLE', 'stopped before an answer came', { cause });
      throw new SpoolError('UNAVAILABLE', `nobody answers at ${url}: is the platform running there? (--url, SPOOL_URL)`, { cause });
    }
    if (!answer.ok) throw refusal(answer.status, await answer.text());
    return answer;
  };
  const soon = (): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const streamed = async (path: string, query: Query, accept: string): Promise<ReadableStream<string>> => {
    const { body } = await ask(path, query, { headers: { accept }, signal });
    return body!.pipeThrough(new TextDecoderStream());
  };
  /** What is read until it is told to stop ends then without an error. */
  const until = async function* <T>(stream: ReadableStream<T>): AsyncGenerator<T, void> {
    try {
      yield* stream;
    } catch (thrown) {
      if (!signal.aborted) throw new SpoolError('UNAVAILABLE', `the connection to ${url} has ended`, { cause: thrown });
    }
  };
  return {
    get: async <T>(path: string, query: Query = {}) => (await (await ask(path, query, { signal: soon() })).json()) as T,
    async post<T>(path: string, body: object, headers = {}) {
      const init = {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json', ...headers },
        signal: soon(),
      };
      return (await (await ask(path, {}, init)).json()) as T;
    },
    async *follow(path, query = {}) {
      const stream = await streamed(path, query, 'text/event-stream');
      for await (const { event = 'message', data } of until(stream.pipeThrough(new EventSourceParserStream())))
        yield { event, data: JSON.parse(data) as unknown };
    },
    async *lines(path) {
      let rest = '';
      for await (const text of until(await streamed(path, {}, 'application/x-ndjson'))) {
        const all = (rest + text).split('\n');
        rest = all.pop()!;
        yield* all;
      }
      if (rest !== '') yield rest;
    },
  };
}

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
  return new SpoolError(known, detail, { violations: errors.map((each) => ({ pointer: each.pointer, message: each.detail })) });
}
