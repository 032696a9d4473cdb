import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** A platform in a process of its own, as a person starts it in a terminal. For tests. */
export interface PlatformProcess extends AsyncDisposable {
  /** What it has printed so far, errors too. */
  readonly lines: readonly string[];
  /** Resolves with the exit code; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** Resolves with the first line printed from now on, or before when `from` is 0, that fits. @throws Error with all lines when it exits or time is up */
  untilLine(pattern: RegExp, withinMs: number, from?: number): Promise<string>;
  /** The processes that it has started and that still run. */
  children(): readonly { readonly pid: number; readonly command: string }[];
  /** Ctrl-C; resolves with the exit code. */
  interrupt(): Promise<number | null>;
}

export interface PlatformProcessOptions {
  /** The arguments of node: the file to run, and its options. */
  readonly args: readonly string[];
  /** Settings beside the environment of this process. */
  readonly env: Readonly<Record<string, string>>;
}

/** More than the parts are given to stop, one stage after the other. */
const stopMs = 60_000;

/** Starts it and does not wait; `untilLine(/^ready$/)` does. Disposing of it is Ctrl-C, and SIGKILL when that does not help. */
export function platformProcess({ args, env }: PlatformProcessOptions): PlatformProcess {
  // In the process group of the tests: Ctrl-C there ends it too.
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', (line) => lines.push(line));
  const exited = once(child, 'close').then(([code]) => code as number | null);
  let over = false;
  void exited.then(() => (over = true));

  const untilLine = async (pattern: RegExp, withinMs: number, from = lines.length): Promise<string> => {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = lines.slice(from).find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (over || performance.now() > deadline) {
        throw new Error(`no line ${String(pattern)} ${over ? 'before it exited' : `within ${withinMs} ms`}:\n${lines.join('\n')}`);
      }
      await sleep(20);
    }
  };
  const interrupt = async (): Promise<number | null> => {
    child.kill('SIGINT');
    const late = setTimeout(() => child.kill('SIGKILL'), stopMs);
    const code = await exited;
    clearTimeout(late);
    return code;
  };
  return {
    lines,
    exited,
    untilLine,
    children: () => childrenOf(child.pid),
    interrupt,
    [Symbol.asyncDispose]: async () => {
      await interrupt();
    },
  };
}

/** Those of the processes that still run after a moment; a guard ends a little later than the child that it guards. */
export async function stillAlive<T extends { readonly pid: number }>(processes: readonly T[], withinMs = 5_000): Promise<readonly T[]> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const alive = processes.filter(({ pid }) => isAlive(pid));
    if (alive.length === 0 || performance.now() > deadline) return alive;
    await sleep(50);
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function childrenOf(parent: number | undefined): { pid: number; command: string }[] {
  const processes = execFileSync('ps', ['-A', '-ww', '-o', 'pid=,ppid=,args='], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  return processes.split('\n').flatMap((row) => {
    const [, pid, ppid, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(row) ?? [];
    return Number(ppid) === parent ? [{ pid: Number(pid), command: command! }] : [];
  });
}
