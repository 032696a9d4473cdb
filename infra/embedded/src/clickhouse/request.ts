import type { IncomingHttpHeaders } from 'node:http';
import { EngineError } from './engine-error.js';
import type { SessionRequest } from './sessions.js';

/** What the URL and the headers of a request say, apart from who sends it. */
export interface QueryRequest {
  /** `query` of the URL; it stands in front of the body. */
  readonly query: string;
  readonly database: string | undefined;
  readonly format: string;
  readonly queryId: string | undefined;
  readonly mayCompress: boolean;
  /** Of Native blocks; 0 without block info, as `FORMAT Native` in a file. */
  readonly revision: number;
  readonly settings: ReadonlyMap<string, string>;
  readonly session: SessionRequest | undefined;
}

/** About the transport, and read here or without a meaning here. An answer is always built whole, as `wait_end_of_query` asks. */
const transport = new Set(
  'query database default_format query_id user password session_id session_timeout session_check close_session enable_http_compression compress decompress wait_end_of_query buffer_size client_protocol_version quota_key stacktrace'.split(
    ' ',
  ),
);

const maxSessionSeconds = 3600;

/** @throws EngineError for what is not served */
export function readRequest(url: URLSearchParams, headers: IncomingHttpHeaders): QueryRequest {
  for (const name of ['compress', 'decompress']) {
    if (isSet(url.get(name))) {
      throw new EngineError(
        48,
        'NOT_IMPLEMENTED',
        `${name}=1 (ClickHouse's own block compression) is not served; use Accept-Encoding and Content-Encoding.`,
      );
    }
  }
  if (url.has('role')) throw new EngineError(48, 'NOT_IMPLEMENTED', 'Roles cannot be chosen; sign in as another user.');
  return {
    query: url.getAll('query').join('\n'),
    database: nonEmpty(url.get('database')) ?? header(headers['x-clickhouse-database']),
    format: nonEmpty(url.get('default_format')) ?? header(headers['x-clickhouse-format']) ?? 'TabSeparated',
    queryId: queryIdOf(url),
    mayCompress: isSet(url.get('enable_http_compression')),
    revision: Number(url.get('client_protocol_version') ?? 0),
    settings: new Map([...url].filter(([name]) => !transport.has(name))),
    session: sessionOf(url),
  };
}

function queryIdOf(url: URLSearchParams): string | undefined {
  const id = nonEmpty(url.get('query_id'));
  if (id !== undefined && !/^[\x20-\x7e]{1,256}$/.test(id)) {
    throw new EngineError(36, 'BAD_ARGUMENTS', 'query_id must be 1 to 256 printable ASCII characters.');
  }
  return id;
}

function sessionOf(url: URLSearchParams): SessionRequest | undefined {
  const id = nonEmpty(url.get('session_id'));
  if (id === undefined) return undefined;
  const seconds = Number(url.get('session_timeout') ?? 60);
  if (!(seconds >= 0 && seconds <= maxSessionSeconds)) {
    throw new EngineError(374, 'INVALID_SESSION_TIMEOUT', `session_timeout must be 0 to ${maxSessionSeconds} seconds.`, 400);
  }
  return { id, timeoutMs: seconds * 1000, mustExist: isSet(url.get('session_check')), closeAfter: isSet(url.get('close_session')) };
}

/** The fields of a form, which some clients use for long parameters, joined to those of the URL. @throws EngineError 48 for tables sent along */
export async function readForm(body: Buffer, headers: IncomingHttpHeaders, url: URLSearchParams): Promise<URLSearchParams> {
  const parsed = new Response(new Uint8Array(body), { headers: { 'content-type': headers['content-type'] ?? '' } });
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- for servers with unbounded bodies; this one is bounded
  const form = await parsed.formData().catch((cause: unknown) => {
    throw new EngineError(36, 'BAD_ARGUMENTS', `The form cannot be read: ${String(cause)}`);
  });
  const joined = new URLSearchParams(url);
  for (const [name, value] of form) {
    if (typeof value !== 'string') throw new EngineError(48, 'NOT_IMPLEMENTED', `External tables are not served (${name}).`);
    joined.append(name, value);
  }
  return joined;
}

export const isForm = (headers: IncomingHttpHeaders): boolean => /^multipart\/form-data\b/i.test(headers['content-type'] ?? '');

const isSet = (value: string | null): boolean => value === '1' || value === 'true';
const nonEmpty = (value: string | null): string | undefined => (value === null || value === '' ? undefined : value);
const header = (value: string | readonly string[] | undefined): string | undefined =>
  value === undefined || value === '' ? undefined : String(value);
