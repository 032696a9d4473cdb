import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@spool/schemas';
import type { z } from 'zod';
import type { Principal, RequiredRole } from './roles.js';

/** One upgrade request that was let in. */
export interface SocketContext {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  /** What came after the headers already. */
  readonly head: Buffer;
  readonly url: URL;
  readonly params: Readonly<Record<string, string>>;
  readonly principal: Principal;
  /** Fires when the server closes or the credentials expire: say goodbye and end the socket. */
  readonly signal: AbortSignal;
}

/**
 * A WebSocket endpoint. The edge checks host, origin, credentials and role before the handshake, and refuses with a problem document.
 * A browser cannot set headers here: it offers its credentials as the subprotocol `spool.bearer.<token>` next to the real one, and the
 * handler must not choose that one.
 */
export interface SocketRoute {
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly tag?: string;
  readonly role: RequiredRole;
  /** One entry for each `{name}` of the path; described only, values are text. */
  readonly params?: z.ZodObject;
  readonly errors?: readonly ErrorCode[];
  /** Makes the handshake and owns the socket from then on. A SpoolError thrown before is answered with its problem document. */
  readonly handler: (context: SocketContext) => void;
}

/** The start of the subprotocol that carries credentials. */
export const bearerProtocol = 'spool.bearer.';
