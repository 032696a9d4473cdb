import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { SpoolError } from '@spool/schemas';
import { problemMediaType, problemOf, retryAfterSeconds, type Occurrence } from './problem.js';

/** Answers with a problem document where Node gives a bare socket (requests that cannot be parsed, refused upgrades), and ends it. */
export function writeRawProblem(socket: Duplex, error: SpoolError, occurrence: Occurrence): void {
  // What still arrives of a broken request is broken too, and answered already.
  if (socket.writableEnded) return;
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = JSON.stringify(problemOf(error, occurrence));
  const { status } = error.entry;
  const seconds = retryAfterSeconds(error);
  const headers = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    ...(seconds === undefined ? [] : [`Retry-After: ${seconds}`]),
    ...(status === 401 ? ['WWW-Authenticate: Bearer realm="spool"'] : []),
  ];
  socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`);
  // Closing with unread bytes would reset the connection, and the answer could be lost; waiting for the client could last for ever.
  socket.resume();
  setTimeout(() => socket.destroy(), 1_000).unref();
}
