import { createRequire } from 'node:module';

/** A native connection to the engine of this process. It carries its own settings, database, parameters and temporary tables. */
export type Connection = object;

export interface RawResult {
  readonly bytes: Buffer;
  /** Seconds. */
  readonly elapsed: number;
  /** Rows and bytes that passed the connection: those of the result, or those inserted from a file. */
  readonly rowsRead: number;
  readonly bytesRead: number;
}

/** The engine's own reading of a text: how many statements, and how much they may change (0 nothing … 4 not understood). */
export interface Analysis {
  readonly statementCount: number;
  readonly queryClass: number;
}

export interface Addon {
  /** The first connection starts the engine on `path` with `args`; later ones must name the same path. */
  CreateConnection(path: string, args?: readonly string[]): Connection;
  /** Only when no call on this connection is running: the engine aborts otherwise. The last one out stops the engine. */
  CloseConnection(connection: Connection): void;
  /** Runs on a libuv thread; rejects with an Error whose message is the engine's. */
  QueryAsyncConnection(connection: Connection, sql: string, format: string): Promise<RawResult>;
  DurableClassifyAsync(connection: Connection, sql: string, database: string): Promise<Analysis>;
}

/**
 * chdb's native layer. Its public `Session` will not do here: `Session.close()` waits for whatever runs on *other* connections, so that one
 * slow query would pile up the connections of every request behind it (145 KB each). chdb is pinned to an exact version for this import.
 */
export function loadAddon(): Addon {
  const require = createRequire(import.meta.url);
  const { loadNative } = createRequire(require.resolve('chdb'))('./dist/loader.js') as { loadNative: () => Addon };
  return loadNative();
}
