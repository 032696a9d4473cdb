import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Edge } from './edge.js';
import { writeRawProblem } from './raw-problem.js';
import { anonymous, type Principal } from './roles.js';
import { checkRole } from './serve-route.js';
import { bearerProtocol, type SocketRoute } from './socket-route.js';
import { continueTrace } from './trace.js';

export interface Upgrades {
  /** Asks all handlers to end their sockets. */
  abort(): void;
  /** Cuts those that are still open. */
  destroy(): void;
  /** How many sockets are open. */
  readonly size: number;
}

/** Lets the declared web sockets in, and refuses every other upgrade with a problem document. */
export function acceptUpgrades(
  server: Server,
  sockets: readonly SocketRoute[],
  edge: Edge,
  guard: (request: IncomingMessage) => void,
): Upgrades {
  const open = new Map<Duplex, AbortController>();
  const matchers = sockets.map((route) => ({ route, match: matcher(route.path) }));

  const admit = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    guard(request);
    const url = new URL(request.url ?? '/', 'http://host');
    const found = matchers.map(({ route, match }) => ({ route, params: match(url.pathname) })).find(({ params }) => params !== undefined);
    if (found === undefined) throw new SpoolError('NOT_FOUND', 'There is no web socket at this path');
    if (edge.traffic.closing) throw new SpoolError('UNAVAILABLE', 'This instance is stopping', { retryAfterMs: 1000 });
    if (open.size >= edge.limits.maxStreams) throw new SpoolError('OVERLOADED', `${edge.limits.maxStreams} web sockets are open already`);
    const { route, params } = found;
    const principal = route.role === 'public' ? anonymous : checkRole(await edge.auth.authenticate(credentials(request)), route.role);
    if (socket.destroyed) return;
    const controller = new AbortController();
    open.set(socket, controller);
    // Node leaves the sockets of its HTTP server half open; one whose client has gone would count for ever.
    socket.once('end', () => socket.end());
    const expiry = expireAt(principal, controller);
    socket.once('close', () => {
      clearTimeout(expiry);
      open.delete(socket);
    });
    route.handler({ request, socket, head, url, params: params!, principal, signal: controller.signal });
  };

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', () => socket.destroy());
    admit(request, socket, head).catch((thrown: unknown) => {
      const error = toSpoolError(thrown);
      const { traceId } = continueTrace(undefined);
      const path = (request.url ?? '/').split('?', 1)[0]!;
      if (error.code === 'INTERNAL') edge.log.error({ err: error, path, traceId }, 'upgrade failed unexpectedly');
      writeRawProblem(socket, error, { path, traceId });
    });
  });

  return {
    get size() {
      return open.size;
    },
    abort: () => {
      for (const controller of open.values()) controller.abort(new SpoolError('UNAVAILABLE', 'This instance is stopping'));
    },
    destroy: () => {
      for (const socket of open.keys()) socket.destroy();
    },
  };
}

/** The headers, or what a browser put into the subprotocols. */
function credentials({ headers }: IncomingMessage): { authorization?: string; 'x-api-key'?: string | string[] } {
  const offered = headers['sec-websocket-protocol']
    ?.split(',')
    .map((each) => each.trim())
    .find((each) => each.startsWith(bearerProtocol));
  if (offered !== undefined) return { authorization: `Bearer ${offered.slice(bearerProtocol.length)}` };
  const { authorization, 'x-api-key': apiKey } = headers;
  return { ...(authorization === undefined ? {} : { authorization }), ...(apiKey === undefined ? {} : { 'x-api-key': apiKey }) };
}

function matcher(path: string): (pathname: string) => Readonly<Record<string, string>> | undefined {
  const pattern = new RegExp(`^${path.replaceAll(/[.~]/g, '\\$&').replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`);
  return (pathname) => {
    const match = pattern.exec(pathname);
    if (match === null) return undefined;
    try {
      return Object.fromEntries(Object.entries(match.groups ?? {}).map(([name, value]) => [name, decodeURIComponent(value)]));
    } catch {
      throw new SpoolError('INVALID_REQUEST', 'The path is not percent-encoded well');
    }
  };
}

function expireAt({ expiresAt }: Principal, controller: AbortController): NodeJS.Timeout | undefined {
  if (expiresAt === undefined) return undefined;
  const expire = (): void => {
    controller.abort(new SpoolError('UNAUTHENTICATED', 'The credentials have expired'));
  };
  return setTimeout(expire, Math.min(expiresAt - Date.now(), 2_147_483_647));
}
