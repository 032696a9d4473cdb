import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { brotliCompress, constants, deflate, gzip } from 'node:zlib';
import type { Outcome } from './engine.js';
import type { EngineError } from './engine-error.js';

/** What every answer to one request carries. */
export interface ReplyContext {
  readonly queryId: string;
  readonly timezone: string;
  readonly version: string;
  /** `enable_http_compression=1`: the answer is compressed as Accept-Encoding likes. */
  readonly mayCompress: boolean;
}

const utf8 = '; charset=UTF-8';

/** As ClickHouse labels its formats; first match. Nothing is labelled as HTML, which a browser would run. */
const contentTypes: readonly (readonly [RegExp, string])[] = [
  [/^(?:JSON\w*EachRow\w*|JSONLines|JSONL|NDJSON)$/i, `application/x-ndjson${utf8}`],
  [/^(?:Geo)?JSON/i, `application/json${utf8}`],
  [/^CSV\w*WithNames/i, `text/csv${utf8}; header=present`],
  [/^CSV/i, `text/csv${utf8}; header=absent`],
  [/^(?:TSV|TabSeparated|TSKV|Raw(?!BLOB))/i, `text/tab-separated-values${utf8}`],
  [/^XML$/i, `application/xml${utf8}`],
  [/^(?:Markdown|MD)$/i, `text/markdown${utf8}`],
  [/^Prometheus$/i, `text/plain; version=0.0.4${utf8}`],
  [/^(?:Native|Parquet|ORC|Arrow|Avro|RowBinary|MsgPack|Protobuf|CapnProto|BSON|Npy|RawBLOB|Buffers)/i, 'application/octet-stream'],
  [/^PNG$/i, 'image/png'],
];

const contentTypeOf = (format: string): string => contentTypes.find(([pattern]) => pattern.test(format))?.[1] ?? `text/plain${utf8}`;

const level = 3;
const encoders: Readonly<Record<string, (bytes: Buffer) => Promise<Buffer>>> = {
  gzip: (bytes) => promisify(gzip)(bytes, { level }),
  deflate: (bytes) => promisify(deflate)(bytes, { level }),
  br: (bytes) => promisify(brotliCompress)(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: level } }),
};

/** The first of our codings that the client names and does not rule out with `q=0`. */
function pickCoding(accept: string | undefined): string | undefined {
  const accepted = (accept ?? '').split(',').flatMap((part) => {
    const [name = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    return parameters.some((text) => /^q=0(?:\.0*)?$/.test(text)) ? [] : [name];
  });
  return Object.keys(encoders).find((name) => accepted.includes(name) || accepted.includes('*'));
}

export async function sendOutcome(
  request: IncomingMessage,
  response: ServerResponse,
  context: ReplyContext,
  format: string,
  outcome: Outcome & { readonly isInsert: boolean },
): Promise<void> {
  const coding = context.mayCompress && outcome.bytes.length > 0 ? pickCoding(request.headers['accept-encoding']) : undefined;
  const bytes = coding === undefined ? outcome.bytes : await encoders[coding]!(outcome.bytes);
  response.writeHead(200, {
    ...baseHeaders(context),
    'Content-Type': contentTypeOf(format),
    'Content-Length': bytes.length,
    ...(coding === undefined ? {} : { 'Content-Encoding': coding }),
    'X-ClickHouse-Format': format,
    'X-ClickHouse-Summary': summaryOf(outcome),
  });
  response.end(bytes);
}

export function sendError(response: ServerResponse, context: ReplyContext, error: EngineError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(error.status, {
    ...baseHeaders(context),
    'Content-Type': `text/plain${utf8}`,
    'X-ClickHouse-Exception-Code': error.code,
    ...(error.status === 503 ? { 'Retry-After': 1 } : {}),
  });
  response.end(error.toText(context.version));
}

export function sendText(response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'Content-Type': `text/plain${utf8}`, 'X-Content-Type-Options': 'nosniff', ...headers });
  response.end(text);
}

const baseHeaders = ({ queryId, timezone }: ReplyContext): Readonly<Record<string, string>> => ({
  'X-ClickHouse-Server-Display-Name': 'spool',
  'X-ClickHouse-Query-Id': queryId,
  'X-ClickHouse-Timezone': timezone,
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-store',
});

/** The engine in process tells rows of the result alone, so these stand for the rows read as well. */
function summaryOf({ rows, rowBytes, elapsedSeconds, isInsert }: Outcome & { readonly isInsert: boolean }): string {
  const [result, written] = isInsert ? [0, rows] : [rows, 0];
  return JSON.stringify({
    read_rows: String(rows),
    read_bytes: String(rowBytes),
    written_rows: String(written),
    written_bytes: String(isInsert ? rowBytes : 0),
    total_rows_to_read: '0',
    result_rows: String(result),
    result_bytes: String(isInsert ? 0 : rowBytes),
    elapsed_ns: String(Math.round(elapsedSeconds * 1e9)),
  });
}
