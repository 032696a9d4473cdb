import { SpoolError } from '@spool/schemas';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { Log } from '../log.js';
import { freePorts } from '../supervisor/ports.js';
import { superviseChild } from '../supervisor/supervise.js';

const run = promisify(execFile);

export interface PostgresOptions {
  /** Everything the server keeps. Under root the server runs as `postgres`, who must be able to pass through the folders above. */
  readonly dataDir: string;
  /** @default a free one */
  readonly port?: number;
  /** False gains speed and loses the last moments, or everything, in a power cut. @default true */
  readonly fsync?: boolean;
  readonly log: Log;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  /** `postgres://postgres:<password>@127.0.0.1:<port>/postgres` */
  readonly url: string;
  /** kill -9 of the server; resolves when it serves again. */
  kill(): Promise<void>;
  /** Stops it in order, whoever is connected. */
  close(): Promise<void>;
}

const debianFolder = '/usr/lib/postgresql';
const toolTimeoutMs = 60_000;

/**
 * Starts a PostgreSQL on loopback from Debian's binaries, for tests and measurements, and resolves when it serves.
 * @throws SpoolError TOOL_MISSING without the binaries; CHILD_FAILED when it cannot live.
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { log, fsync = true } = options;
  const dataDir = resolve(options.dataDir);
  const bin = newestBinaries();
  const data = join(dataDir, 'data');
  // 1. A folder of its own, for a user who is not root: the server refuses to run as root.
  const owner = process.getuid?.() === 0 ? await ownerOf('postgres') : undefined;
  await mkdir(data, { recursive: true, mode: 0o700 });
  if (owner !== undefined) for (const folder of [dataDir, data]) await chown(folder, owner.uid, owner.gid);
  const command = (tool: string, args: readonly string[]): { readonly command: string; readonly args: readonly string[] } =>
    owner === undefined
      ? { command: join(bin, tool), args }
      : {
          command: 'setpriv',
          args: [`--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups', join(bin, tool), ...args],
        };
  // 2. The first start makes the database, with a password that lies beside it.
  const passwordFile = join(dataDir, 'password');
  if (!existsSync(join(data, 'PG_VERSION'))) {
    await writeFile(passwordFile, randomBytes(18).toString('base64url'), { mode: 0o600 });
    if (owner !== undefined) await chown(passwordFile, owner.uid, owner.gid);
    const settings = ['--auth=scram-sha-256', `--pwfile=${passwordFile}`, '--encoding=UTF8', '--locale=C', '--username=postgres'];
    const initdb = command('initdb', ['-D', data, ...settings]);
    try {
      await run(initdb.command, [...initdb.args], { timeout: toolTimeoutMs, cwd: dataDir });
    } catch (error) {
      await rm(data, { recursive: true, force: true });
      const { stderr = '' } = error as { stderr?: string };
      throw new SpoolError('CHILD_FAILED', `initdb failed in ${dataDir}: ${stderr.trim().slice(-1000)}`, { cause: error });
    }
  }
  const password = await readFile(passwordFile, 'utf8');
  // 3. The server.
  const port = options.port ?? (await freePorts(1))[0]!;
  const settings = { listen_addresses: '127.0.0.1', port, unix_socket_directories: '', fsync: fsync ? 'on' : 'off', max_connections: 100 };
  const server = await superviseChild({
    name: 'postgres',
    ...command('postgres', ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]),
    logFile: join(dataDir, 'console.log'),
    // SIGTERM would wait until everybody has gone.
    stopSignal: 'SIGINT',
    ready: async (signal) => {
      for (;;) {
        if (await serves(join(bin, 'pg_isready'), port)) return;
        signal.throwIfAborted();
      }
    },
    onState: (state) => log(`PostgreSQL on port ${port}: ${state.kind}`),
  });
  const close = (): Promise<void> => server.close();
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    async kill() {
      await server.kill();
      await server.untilReady(toolTimeoutMs);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function newestBinaries(): string {
  const versions = existsSync(debianFolder) ? readdirSync(debianFolder).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions.map((version) => join(debianFolder, version, 'bin')).find((folder) => existsSync(join(folder, 'postgres')));
  if (found === undefined) throw new SpoolError('TOOL_MISSING', `There is no PostgreSQL in ${debianFolder}; install postgresql.`);
  return found;
}

async function ownerOf(user: string): Promise<{ readonly uid: number; readonly gid: number }> {
  const entry = (await readFile('/etc/passwd', 'utf8')).split('\n').find((line) => line.startsWith(`${user}:`));
  if (entry === undefined) throw new SpoolError('TOOL_MISSING', `There is no user ${user} to run PostgreSQL as.`);
  const [, , uid, gid] = entry.split(':');
  return { uid: Number(uid), gid: Number(gid) };
}

/** It waits a second at the most. */
const serves = (isReady: string, port: number): Promise<boolean> =>
  run(isReady, ['-h', '127.0.0.1', '-p', String(port), '-t', '1'], { timeout: 5000 }).then(
    () => true,
    () => new Promise((done) => setTimeout(() => done(false), 50)),
  );
