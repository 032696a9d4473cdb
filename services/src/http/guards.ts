import type { IncomingMessage, ServerResponse } from 'node:http';
import { BlockList, isIPv6 } from 'node:net';
import { SpoolError } from '@spool/schemas';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Whether an IP address can be reached from this machine alone. */
export function isLoopback(address: string): boolean {
  return loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

export interface GuardOptions {
  /** The address that is listened on. */
  readonly address: string;
  readonly host: string;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
}

type Guard = (request: IncomingMessage) => void;

/**
 * Refuses what a page of another site could make a browser send.
 * - Host: a name that an attacker controls may resolve to 127.0.0.1 (DNS rebinding); to the browser this server then is that site. So on
 *   loopback, or where `allowedHosts` is set, the Host header must be a known name.
 * - Origin: a page may send a POST without a body anywhere. So what is not a GET, HEAD or OPTIONS, and each web socket, must come from our own
 *   origin, an allowed one, or something that is no browser.
 * @throws (the guard) SpoolError HOST_REFUSED or CROSS_ORIGIN
 */
export function createGuard(options: GuardOptions): Guard {
  const restricted = isLoopback(options.address) || options.allowedHosts.length > 0;
  const own = isLoopback(options.address) ? ['localhost', '127.0.0.1', '[::1]', bracketed(options.address)] : [bracketed(options.address)];
  const hosts = new Set([...own, options.host, ...options.allowedHosts].map((host) => host.toLowerCase()));
  return ({ headers, method }) => {
    const host = headers.host?.toLowerCase() ?? '';
    if (restricted && !hosts.has(host) && !hosts.has(host.replace(/:\d*$/, ''))) {
      throw new SpoolError('HOST_REFUSED', 'The Host header names a host that is not among the allowed ones');
    }
    const reading = method === 'GET' || method === 'HEAD' || method === 'OPTIONS';
    const { origin, upgrade } = headers;
    if (reading && upgrade === undefined) return;
    if (origin === undefined) {
      const site = headers['sec-fetch-site'];
      if (site === undefined || site === 'same-origin' || site === 'none') return;
    } else if (origin.replace(/^https?:\/\//, '') === host || options.allowedOrigins.includes(origin)) {
      // Whatever the scheme: TLS may end before us. Where people log in they do so by headers, which no page sends unasked.
      return;
    }
    throw new SpoolError('CROSS_ORIGIN', 'The request comes from a page of another origin');
  };
}

/**
 * Lets pages of the allowed origins read the answers.
 * @returns whether the request was a preflight and is answered
 */
export function answerCrossOrigin(request: IncomingMessage, response: ServerResponse, allowedOrigins: readonly string[]): boolean {
  if (allowedOrigins.length === 0) return false;
  response.appendHeader('Vary', 'Origin');
  const { origin } = request.headers;
  if (origin === undefined || !allowedOrigins.includes(origin)) return false;
  response.setHeader('Access-Control-Allow-Origin', origin);
  response.setHeader('Access-Control-Expose-Headers', 'ETag, Location, Retry-After, RateLimit, RateLimit-Policy, Link');
  if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined) return false;
  response.setHeader('Access-Control-Allow-Methods', 'GET, POST, PUT, PATCH, DELETE');
  response.setHeader(
    'Access-Control-Allow-Headers',
    'Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, Prefer, X-API-Key, traceparent',
  );
  response.setHeader('Access-Control-Max-Age', '600');
  response.writeHead(204).end();
  return true;
}

const bracketed = (address: string): string => (isIPv6(address) ? `[${address}]` : address);
