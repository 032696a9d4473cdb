import { SpoolError } from '@spool/schemas';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { lastLogLine } from '../supervisor/log-file.js';
import { freePorts } from '../supervisor/ports.js';
import { startProcess, type Command } from '../supervisor/process.js';

export interface ClickHouseProcessOptions {
  /** Holds everything; made if it is not there. One process at a time. */
  readonly dataDir: string;
  readonly port: number;
  /** Of `spool`, who may do everything. Not empty. */
  readonly writerPassword: string;
  /** Of `analyst`, who reads. `default`, without a password, reads as well. @default none is asked for */
  readonly readerPassword?: string;
  /** @default `clickhouse.log` in `dataDir`'s parent folder */
  readonly logFile?: string;
}

/** How to run the embedded ClickHouse as a child process. It says `{ type: 'ready' }` over IPC, and stops within 12 s of SIGTERM. */
export function clickHouseCommand({ dataDir, port, writerPassword, readerPassword = '', logFile }: ClickHouseProcessOptions): Command {
  return {
    command: process.execPath,
    args: [fileURLToPath(new URL('main.js', import.meta.url))],
    env: {
      SPOOL_CLICKHOUSE_PATH: dataDir,
      SPOOL_CLICKHOUSE_PORT: String(port),
      SPOOL_CLICKHOUSE_WRITER_PASSWORD: writerPassword,
      SPOOL_CLICKHOUSE_READER_PASSWORD: readerPassword,
      // Only the environment can set this: Node has started its threads before the first line of a module runs.
      UV_THREADPOOL_SIZE: '16',
    },
    logFile: logFile ?? join(dataDir, '..', 'clickhouse.log'),
    ipc: true,
  };
}

export interface SpawnedClickHouse extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly writer: { readonly username: string; readonly password: string };
  readonly reader: { readonly username: string; readonly password: string };
  /** SIGKILL; resolves when the process has exited. */
  kill9(): Promise<void>;
  /** Stops it in order. */
  close(): Promise<void>;
}

export interface SpawnOptions {
  readonly dataDir: string;
  /** @default 0, a free one */
  readonly port?: number;
}

const readyWithinMs = 30_000;
const passwords = { writer: 'writer', reader: 'reader' };

/** Starts an embedded ClickHouse for tests. @throws SpoolError CHILD_FAILED when it ends or is not ready within 30 s */
export async function spawnClickHouse({ dataDir, port = 0 }: SpawnOptions): Promise<SpawnedClickHouse> {
  const chosen = port === 0 ? (await freePorts(1))[0]! : port;
  const command = clickHouseCommand({ dataDir, port: chosen, writerPassword: passwords.writer, readerPassword: passwords.reader });
  const child = startProcess(command);
  const timer = new AbortController();
  const isReady = await Promise.race([
    child.saidReady.then(() => true),
    child.exited.then(() => false),
    sleep(readyWithinMs, false, { signal: timer.signal }),
  ]).finally(() => timer.abort());
  if (!isReady || child.pid === undefined) {
    await child.stop();
    throw new SpoolError(
      'CHILD_FAILED',
      `ClickHouse did not start: ${lastLogLine(command.logFile) ?? 'it said nothing'} (${command.logFile})`,
    );
  }
  const close = async (): Promise<void> => {
    await child.stop();
  };
  return {
    url: `http://127.0.0.1:${chosen}`,
    port: chosen,
    pid: child.pid,
    writer: { username: 'spool', password: passwords.writer },
    reader: { username: 'analyst', password: passwords.reader },
    kill9: async () => {
      child.signal('SIGKILL');
      await child.exited;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
