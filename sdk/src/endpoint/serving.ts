import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SpoolError } from '@spool/schemas';

/** @param what is to listen, for who reads the error. @returns its origin. @throws SpoolError PORT_IN_USE */
export function listen(server: Server, { host, port }: { readonly host: string; readonly port: number }, what: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      reject(
        cause.code === 'EADDRINUSE' ? new SpoolError('PORT_IN_USE', `port ${port} of ${host}, for ${what}, is in use`, { cause }) : cause,
      );
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
      const at = server.address() as AddressInfo;
      resolve(`http://${at.address.includes(':') ? `[${at.address}]` : at.address}:${at.port}`);
    });
  });
}

/** Takes no more requests. Whoever holds a connection open for longer than a request may take is cut off. */
export function closeServer(server: Server, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), timeoutMs);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** @throws SpoolError BODY_TOO_LARGE */
export async function readBody(message: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    if ((bytes += chunk.length) > maxBytes) throw new SpoolError('BODY_TOO_LARGE', `the body has more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** RFC 9457. What was not read of the request is not waited for. */
export function problem({ url = '/', complete }: IncomingMessage, response: ServerResponse, error: SpoolError): void {
  const { code, entry, facts, violations, retryAfterMs } = error;
  const detail = code === 'INTERNAL' ? 'Something unexpected happened; the log of the bundle tells more.' : error.message;
  const errors = violations.map(({ pointer, message }) => ({ pointer, detail: message }));
  response.writeHead(entry.status, {
    'content-type': 'application/problem+json',
    ...(retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) }),
    ...(complete ? {} : { connection: 'close' }),
  });
  const { title, status, retryable, remedy } = entry;
  const body = { ...facts, type: `urn:spool:problem:${code}`, title, status, detail, instance: url, code, retryable, remedy };
  response.end(JSON.stringify(errors.length === 0 ? body : { ...body, errors }));
}
