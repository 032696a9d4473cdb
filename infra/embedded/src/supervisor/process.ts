import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { openLogFile } from './log-file.js';

/** What is run, and where what it prints goes. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  /** The whole environment of the child. @default that of this process */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** @default the working folder of this process */
  readonly cwd?: string;
  /** Takes stdout and stderr, appended; cut at 16 MiB with one older part kept as `<logFile>.1`. */
  readonly logFile: string;
  /** Opens Node's message channel to the child, over which it says `'ready'` or `{ type: 'ready' }`. @default false */
  readonly ipc?: boolean;
  /** Asks it to stop in order. @default 'SIGTERM' */
  readonly stopSignal?: NodeJS.Signals;
  /** How long the child may take after `stopSignal` before it gets SIGKILL, in milliseconds. @default 15000 */
  readonly stopTimeoutMs?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Set when the command could not be started at all. */
  readonly error?: NodeJS.ErrnoException;
}

/** One run of a command, from its start to its exit. */
export interface RunningProcess {
  /** Undefined when the command could not be started. */
  readonly pid: number | undefined;
  readonly startedAt: number;
  readonly exited: Promise<Exit>;
  /** Resolves when the child says that it is ready; never without `ipc`. */
  readonly saidReady: Promise<void>;
  /** Sends a signal to the child alone; nothing happens when it has exited. */
  signal(signal: NodeJS.Signals): void;
  /** `stopSignal`, then SIGKILL to its whole group after `stopTimeoutMs`. Resolves when it has exited. */
  stop(): Promise<Exit>;
}

const defaultStopTimeoutMs = 15_000;

/**
 * The last guard against orphans. It reads from a pipe that only this process holds: when this process dies, however it
 * dies, the pipe ends, and the guard stops the child as we would have done. A word on the pipe means that the child has exited.
 * Plain sh, since it must work on every machine and must not itself depend on us.
 */
const guardScript = `
trap '' INT TERM HUP
read -r word && exit 0
kill -TERM "$1" 2>/dev/null
waited=0
while [ "$waited" -lt "$2" ] && kill -0 "$1" 2>/dev/null; do sleep 1; waited=$((waited + 1)); done
kill -KILL "-$1" 2>/dev/null
exit 0`;

/** Starts a command in a process group of its own, so that Ctrl-C in the terminal reaches only us. */
export function startProcess(command: Command): RunningProcess {
  const stopTimeoutMs = command.stopTimeoutMs ?? defaultStopTimeoutMs;
  const log = openLogFile(command.logFile);
  const child = spawn(command.command, [...command.args], {
    detached: true,
    stdio: command.ipc === true ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
    ...(command.env === undefined ? {} : { env: command.env }),
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
  });
  closeSync(log);
  const release = child.pid === undefined ? () => undefined : guard(child.pid, stopTimeoutMs);
  const exited = exitOf(child).then((exit) => {
    release();
    killGroup(child.pid);
    return exit;
  });
  return {
    pid: child.pid,
    startedAt: performance.now(),
    exited,
    saidReady: new Promise((resolve) => {
      child.on('message', (message) => {
        if (message === 'ready' || (typeof message === 'object' && 'type' in message && message.type === 'ready')) resolve();
      });
    }),
    signal: (signal) => void child.kill(signal),
    stop: async () => {
      child.kill(command.stopSignal ?? 'SIGTERM');
      const timer = setTimeout(() => {
        killGroup(child.pid);
      }, stopTimeoutMs);
      try {
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve({ code, signal });
    });
    child.once('error', (error) => {
      // An error without a pid is a failed start; with one it is a signal or a message that did not go through.
      if (child.pid === undefined) resolve({ code: null, signal: null, error });
    });
  });
}

function guard(pid: number, stopTimeoutMs: number): () => void {
  const process = spawn('sh', ['-c', guardScript, 'spool-guard', String(pid), String(Math.ceil(stopTimeoutMs / 1000))], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without sh there is no guard; the child is still stopped by us in every ordered end.
  process.on('error', () => undefined);
  process.stdin.on('error', () => undefined);
  process.unref();
  return () => process.stdin.end('exited\n');
}

/** Also ends what the child itself started and left behind, which could hold its ports. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // The group is empty: all have exited.
  }
}
