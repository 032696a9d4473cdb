import { SpoolError } from '@spool/schemas';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Role } from './access.js';
import { loadAddon, type Addon, type Connection } from './addon.js';
import { emptyUploads, prepareFiles, type EngineFiles } from './engine-config.js';
import { EngineError, toEngineError } from './engine-error.js';
import type { Limits } from './limits.js';
import { isWord, tokensOf } from './lexer.js';
import { mayNameFile, readerSettings, refuseFileFunction } from './reader-settings.js';
import { createSessions, type SessionRequest, type Sessions } from './sessions.js';
import { createSlots, type Slots } from './slots.js';
import { identifier, literal } from './statement.js';

/** One statement to run, with all that the request says about it. */
export interface Statement {
  readonly user: { readonly name: string; readonly role: Role };
  readonly sql: string;
  /** Of the result, where the statement names none. */
  readonly format: string;
  readonly database: string | undefined;
  /** Settings, and query parameters as `param_<name>` in the escaping of TSV. */
  readonly settings: ReadonlyMap<string, string>;
  /** Kept connection of the writing user. A reader can leave nothing behind in a session, so it gets none. */
  readonly session: SessionRequest | undefined;
  /** The text is ours (an INSERT that reads an upload) and need not be checked. */
  readonly isTrusted: boolean;
  /** Refuse what changes anything, as ClickHouse does for GET. */
  readonly mustOnlyRead: boolean;
  /** Aborted when the client is gone: what waits leaves the queue, what reads is killed, what writes goes on. */
  readonly signal: AbortSignal;
}

export interface Outcome {
  readonly bytes: Buffer;
  /** Of the result, or of what was inserted. */
  readonly rows: number;
  readonly rowBytes: number;
  readonly elapsedSeconds: number;
}

/** Classes of the engine's own analysis. */
const readsOnly = 0;
const notUnderstood = 4;

const killEveryMs = 500;
const killGraceMs = 5_000;

/** ClickHouse in this process. A process can hold one. */
export class Engine implements AsyncDisposable {
  readonly #addon: Addon;
  readonly #base: Connection;
  readonly #slots: Readonly<Record<Role, Slots>>;
  readonly #sessions: Sessions;
  readonly #running = new Map<string, Promise<unknown>>();
  #isClosing = false;

  private constructor(
    addon: Addon,
    base: Connection,
    readonly files: EngineFiles,
    readonly limits: Limits,
    readonly version: string,
    readonly timezone: string,
  ) {
    this.#addon = addon;
    this.#base = base;
    this.#slots = { writer: createSlots(limits), reader: createSlots(limits) };
    this.#sessions = createSessions(addon, () => this.#open(), limits.sessions);
  }

  /** @throws SpoolError UNAVAILABLE when the folder cannot be opened, such as when another process holds it. */
  static async open(dataDir: string, limits: Limits): Promise<Engine> {
    const files = prepareFiles(dataDir);
    const addon = loadAddon();
    try {
      const base = addon.CreateConnection(files.data, [`--config-file=${files.config}`]);
      emptyUploads(files);
      const { bytes } = await addon.QueryAsyncConnection(base, 'SELECT version(), timezone()', 'TSV');
      const [version = '', timezone = ''] = bytes.toString().trim().split('\t');
      return new Engine(addon, base, files, limits, version, timezone);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      throw new SpoolError('UNAVAILABLE', `ClickHouse cannot open ${files.data}: ${why}`, { cause: thrown });
    }
  }

  /** @throws EngineError */
  async run(statement: Statement): Promise<Outcome> {
    const { role } = statement.user;
    const leave = await this.#slots[role].take(statement.signal);
    const id = `spool-${randomUUID()}`;
    const work = this.#execute(statement, id).finally(() => {
      this.#running.delete(id);
      leave();
    });
    this.#running.set(id, work);
    work.catch(() => undefined);
    return this.#bounded(statement, id, work);
  }

  /**
   * Waits `graceMs` for what runs, kills what still does then, and stops the engine.
   * @throws SpoolError UNAVAILABLE when something cannot be killed: the process must end with the engine open. It loses nothing by that.
   */
  async close(graceMs = 5_000): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const drained = (): Promise<unknown> => Promise.allSettled(this.#running.values());
    await within(graceMs, drained());
    if (this.#running.size > 0) {
      for (const id of this.#running.keys()) void this.#kill(id).catch(() => undefined);
      await within(killGraceMs, drained());
    }
    if (this.#running.size > 0) throw new SpoolError('UNAVAILABLE', `${this.#running.size} statements run on and cannot be killed`);
    this.#sessions.close();
    this.#addon.CloseConnection(this.#base);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #execute(statement: Statement, id: string): Promise<Outcome> {
    const { user, sql, format, session, signal } = statement;
    // 1. Check the text and settle the settings.
    if (this.#isClosing) throw new EngineError(236, 'ABORTED', 'The server is shutting down.', 503);
    if (signal.aborted) throw new EngineError(394, 'QUERY_WAS_CANCELLED', 'The client went away.');
    const settings = this.#settingsFor(statement, id);
    if (!statement.isTrusted) await this.#check(statement, settings);
    // 2. A connection of its own, so that nothing leaks from one request to the next; or the one of the session.
    const isKept = session !== undefined && user.role === 'writer';
    const connection = isKept ? this.#sessions.lease(session) : this.#lease();
    try {
      const restore = isKept ? await this.#restoring(connection.connection, statement) : undefined;
      try {
        await this.#query(connection.connection, preludeOf(statement, settings));
        const { bytes, rowsRead, bytesRead, elapsed } = await this.#query(connection.connection, sql, format);
        if (bytes.length > this.limits.maxResultBytes) {
          throw new EngineError(
            396,
            'TOO_MANY_ROWS_OR_BYTES',
            `The result has ${bytes.length} bytes, more than ${this.limits.maxResultBytes}.`,
          );
        }
        return { bytes, rows: rowsRead, rowBytes: bytesRead, elapsedSeconds: elapsed };
      } finally {
        if (restore !== undefined) await this.#query(connection.connection, restore).catch(() => undefined);
      }
    } finally {
      connection.giveBack();
    }
  }

  #settingsFor({ user, settings }: Statement, id: string): ReadonlyMap<string, string> {
    const granted = new Map(user.role === 'reader' ? readerSettings(settings, this.limits.reader) : settings);
    // How a running statement is found again to kill it; a comment of the client stays behind it.
    return granted.set('log_comment', [id, settings.get('log_comment')].join(' ').trim());
  }

  /** One statement; nothing but reading where that is all that is allowed; no file of the server. */
  async #check({ user, sql, mustOnlyRead }: Statement, settings: ReadonlyMap<string, string>): Promise<void> {
    if (sql.trim() === '') throw new EngineError(62, 'SYNTAX_ERROR', 'Syntax error: the query is empty.');
    const { statementCount, queryClass } = await this.#addon.DurableClassifyAsync(this.#base, sql, 'default');
    if (statementCount > 1) throw new EngineError(62, 'SYNTAX_ERROR', 'Syntax error: multi-statements are not allowed.');
    const isReader = user.role === 'reader';
    if (queryClass === notUnderstood && (isReader || mustOnlyRead)) await this.#canonical(sql);
    if (queryClass !== readsOnly && hasOutfile(sql)) throw new EngineError(358, 'INTO_OUTFILE_NOT_ALLOWED', 'INTO OUTFILE is not allowed.');
    if (queryClass !== readsOnly && (isReader || mustOnlyRead)) {
      throw new EngineError(164, 'READONLY', `${user.name}: Cannot execute query in readonly mode.`);
    }
    if (isReader && [sql, ...settings.values()].some(mayNameFile)) refuseFileFunction(await this.#canonical(sql), settings);
  }

  /** The statement as the engine formats it. @throws EngineError when it is no statement. */
  async #canonical(sql: string): Promise<string> {
    try {
      return (await this.#query(this.#base, `SELECT formatQuerySingleLine(${literal(sql)})`, 'RawBLOB')).bytes.toString();
    } catch (thrown) {
      const { code, type, message } = toEngineError(thrown);
      throw new EngineError(code, type, message.replace(/: In scope SELECT formatQuerySingleLine\([^]*$/, ''));
    }
  }

  async #query(connection: Connection, sql: string, format = 'TSV'): ReturnType<Addon['QueryAsyncConnection']> {
    try {
      return await this.#addon.QueryAsyncConnection(connection, sql, format);
    } catch (thrown) {
      throw toEngineError(thrown);
    }
  }

  /** What sets a kept connection back after a request that names a database or settings: those count for the request alone. */
  async #restoring(connection: Connection, { settings, database }: Statement): Promise<string> {
    const names = ['log_comment', ...settings.keys()].map(literal).join(',');
    const asked = `SELECT currentDatabase(), groupArray((name, value)) FROM system.settings WHERE name IN (${names})`;
    const { bytes } = await this.#query(connection, asked, 'JSONCompactEachRow');
    const [usual, before] = JSON.parse(bytes.toString()) as [string, (readonly [string, string])[]];
    const reset = `SET ${before.map(([name, value]) => `${name}=${literal(value)}`).join(', ')}`;
    return database === undefined ? reset : `USE ${identifier(usual)}; ${reset}`;
  }

  #open(): Connection {
    return this.#addon.CreateConnection(this.files.data);
  }

  #lease(): { readonly connection: Connection; readonly giveBack: () => void } {
    const connection = this.#open();
    return { connection, giveBack: () => this.#addon.CloseConnection(connection) };
  }

  /** The outcome, or 159 soon after the deadline, whatever the engine does. */
  async #bounded({ user, signal }: Statement, id: string, work: Promise<Outcome>): Promise<Outcome> {
    const deadlineMs = this.limits.deadlineMs[user.role];
    const stop = new AbortController();
    const state = { isLate: false };
    const kill = (): void => void this.#killUntilEnded(id);
    const overdue = async (): Promise<void> => {
      await sleep(deadlineMs, undefined, { signal: stop.signal });
      state.isLate = true;
      kill();
      await sleep(killGraceMs, undefined, { signal: stop.signal });
    };
    if (user.role === 'reader') signal.addEventListener('abort', kill, { once: true });
    try {
      const outcome = await Promise.race([work, overdue().catch(() => undefined)]);
      if (outcome !== undefined) return outcome;
    } catch (thrown) {
      if (!state.isLate) throw thrown;
    } finally {
      stop.abort();
      signal.removeEventListener('abort', kill);
    }
    throw new EngineError(159, 'TIMEOUT_EXCEEDED', `Timeout exceeded: the query ran for more than ${deadlineMs} ms.`);
  }

  /** Again and again, since it may not have begun, or the engine may not look for a while. */
  async #killUntilEnded(id: string): Promise<void> {
    while (this.#running.has(id)) {
      await this.#kill(id).catch(() => undefined);
      await sleep(killEveryMs);
    }
  }

  async #kill(id: string): Promise<void> {
    const { connection, giveBack } = this.#lease();
    try {
      await this.#query(connection, `KILL QUERY WHERE startsWith(Settings['log_comment'], ${literal(id)}) ASYNC`);
    } finally {
      giveBack();
    }
  }
}

/** Role, database and settings, and for a reader the lock behind them. */
function preludeOf({ user, database }: Statement, settings: ReadonlyMap<string, string>): string {
  const isReader = user.role === 'reader';
  const assignments = [...settings].map(([name, value]) => `${settingName(name)}=${literal(value)}`);
  return [
    ...(isReader ? ['SET ROLE analyst'] : []),
    ...(database === undefined ? [] : [`USE ${identifier(database)}`]),
    `SET ${assignments.join(', ')}`,
    ...(isReader ? ['SET readonly=1'] : []),
  ].join('; ');
}

function settingName(name: string): string {
  if (!/^[A-Za-z_]\w*$/.test(name)) throw new EngineError(115, 'UNKNOWN_SETTING', `Unknown setting '${name}'.`);
  return name;
}

function hasOutfile(sql: string): boolean {
  let before = false;
  for (const token of tokensOf(sql)) {
    if (before && isWord(token, 'OUTFILE')) return true;
    before = isWord(token, 'INTO');
  }
  return false;
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  await Promise.race([work, sleep(ms, undefined, { signal: timer.signal })]).finally(() => timer.abort());
}
