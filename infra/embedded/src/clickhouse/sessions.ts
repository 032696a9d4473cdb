import type { Addon, Connection } from './addon.js';
import { EngineError } from './engine-error.js';

/** What a request says about its session. */
export interface SessionRequest {
  readonly id: string;
  /** How long the session is kept after this request, in milliseconds. */
  readonly timeoutMs: number;
  /** Refuse to begin a new one. */
  readonly mustExist: boolean;
  readonly closeAfter: boolean;
}

interface Session {
  readonly connection: Connection;
  isBusy: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** Connections that outlive a request: their SET statements and temporary tables are there for the next one. */
export interface Sessions {
  /** @throws EngineError 372 when it must exist and does not, 373 while another request uses it, 700 when there are too many. */
  lease(request: SessionRequest): { readonly connection: Connection; readonly giveBack: () => void };
  /** Closes those that no request uses. */
  close(): void;
}

export function createSessions(addon: Addon, open: () => Connection, most: number): Sessions {
  const sessions = new Map<string, Session>();
  const end = (id: string, session: Session): void => {
    clearTimeout(session.timer);
    sessions.delete(id);
    addon.CloseConnection(session.connection);
  };
  return {
    lease({ id, timeoutMs, mustExist, closeAfter }) {
      let session = sessions.get(id);
      if (session?.isBusy === true) throw new EngineError(373, 'SESSION_IS_LOCKED', `Session ${id} is locked by a concurrent client.`);
      if (session === undefined) {
        if (mustExist) throw new EngineError(372, 'SESSION_NOT_FOUND', `Session ${id} not found.`);
        const idle = [...sessions].find(([, known]) => !known.isBusy);
        if (sessions.size >= most) {
          if (idle === undefined) throw new EngineError(700, 'USER_SESSION_LIMIT_EXCEEDED', `${most} sessions are in use.`);
          end(...idle);
        }
        session = { connection: open(), isBusy: false, timer: undefined };
      }
      const leased = session;
      // The map keeps the order of use: the first idle one is the longest unused.
      sessions.delete(id);
      sessions.set(id, leased);
      clearTimeout(leased.timer);
      leased.isBusy = true;
      return {
        connection: leased.connection,
        giveBack() {
          leased.isBusy = false;
          if (closeAfter) end(id, leased);
          else leased.timer = setTimeout(() => end(id, leased), timeoutMs).unref();
        },
      };
    },
    close() {
      for (const [id, session] of sessions) if (!session.isBusy) end(id, session);
    },
  };
}
