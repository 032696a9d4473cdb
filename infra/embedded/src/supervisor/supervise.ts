import { SpoolError, toSpoolError } from '@spool/schemas';
import { setTimeout as sleep } from 'node:timers/promises';
import { cutLogFile, lastLogLine } from './log-file.js';
import { startProcess, type Command, type Exit, type RunningProcess } from './process.js';

/** When a dead child is started again, and when we give up. Times in milliseconds. */
export interface RestartPolicy {
  /** The pause after the first death in a row; it doubles with each further one. @default 200 */
  readonly firstDelayMs?: number;
  /** @default 10000 */
  readonly maxDelayMs?: number;
  /** A child that dies sooner than this after it was ready, or before it was, died quickly. @default 10000 */
  readonly quickMs?: number;
  /** After so many quick deaths in a row the child has failed for good. 1 never restarts a child that dies quickly. @default 5 */
  readonly maxQuickDeaths?: number;
}

export type ChildState =
  | { readonly kind: 'starting'; readonly pid: number | undefined }
  | { readonly kind: 'ready'; readonly pid: number | undefined; readonly tookMs: number }
  | { readonly kind: 'waiting'; readonly reason: string; readonly delayMs: number }
  | { readonly kind: 'failed'; readonly error: SpoolError }
  | { readonly kind: 'stopped' };

export interface ChildSpec extends Command {
  /** Names the child in messages. */
  readonly name: string;
  /**
   * Resolves when the child serves. It is called once for each start and must end soon after `signal` aborts (the child died, or the
   * deadline passed); what it throws counts as a failed start. `'ipc'` waits for the child to say so; see `Command.ipc`.
   */
  readonly ready: 'ipc' | ((signal: AbortSignal) => Promise<void>);
  /** A child that is not ready by then is killed and counts as a quick death. @default 60000 */
  readonly readyTimeoutMs?: number;
  readonly restart?: RestartPolicy;
  /** Aborting it closes the child, also before it is ready. */
  readonly signal?: AbortSignal;
  /** Called with each change. It must not throw. */
  readonly onState?: (state: ChildState) => void;
}

export interface SupervisedChild extends AsyncDisposable {
  readonly name: string;
  readonly state: ChildState;
  /** Of the run under way; undefined between two runs. */
  readonly pid: number | undefined;
  /** Resolves with CHILD_FAILED when the child has failed for good, and with undefined when it was closed. */
  readonly ended: Promise<SpoolError | undefined>;
  /**
   * SIGKILL, for tests of the restart; resolves when the child has exited, before it is started again.
   * @param awayMs how long it stays away at the least, in milliseconds. @default 0
   */
  kill(awayMs?: number): Promise<void>;
  /** Stops the child in order and starts it again; resolves when it is ready. @throws SpoolError CHILD_FAILED */
  restart(): Promise<void>;
  /** Resolves when the child is ready (again). @throws SpoolError CHILD_FAILED, or UNAVAILABLE after `withinMs` or `close()` */
  untilReady(withinMs: number): Promise<void>;
  /** SIGTERM, then SIGKILL after `stopTimeoutMs`. Resolves when the child has exited. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Starts a child, resolves when it is ready, and from then on starts it again whenever it exits. However this process
 * ends, the child ends too.
 * @throws SpoolError CHILD_FAILED when it dies quickly too often; TOOL_MISSING when the command is not there; UNAVAILABLE when `signal`
 *   aborted first.
 */
export async function superviseChild(spec: ChildSpec): Promise<SupervisedChild> {
  const child = new Supervisor(spec);
  await child.firstReady();
  return child;
}

const logCheckMs = 30_000;

class Supervisor implements SupervisedChild {
  state: ChildState = { kind: 'starting', pid: undefined };
  readonly ended: Promise<SpoolError | undefined>;
  #process: RunningProcess | undefined;
  readonly #closing = new AbortController();
  readonly #watchers = new Set<() => void>();
  #restartAsked = false;
  #awayMs = 0;

  constructor(readonly spec: ChildSpec) {
    const abort = (): void => void this.close();
    if (spec.signal?.aborted === true) this.#closing.abort();
    else spec.signal?.addEventListener('abort', abort, { once: true });
    this.ended = this.#run().finally(() => spec.signal?.removeEventListener('abort', abort));
  }

  get name(): string {
    return this.spec.name;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  async kill(awayMs = 0): Promise<void> {
    this.#awayMs = awayMs;
    const process = this.#process;
    process?.signal('SIGKILL');
    await process?.exited;
  }

  async firstReady(): Promise<void> {
    await this.#until((state) => state.kind === 'ready');
  }

  async restart(): Promise<void> {
    const before = this.#process;
    if (before !== undefined) {
      this.#restartAsked = true;
      await before.stop();
    }
    await this.#until((state) => state.kind === 'ready' && state.pid !== before?.pid);
  }

  async untilReady(withinMs: number): Promise<void> {
    await this.#until((state) => state.kind === 'ready', withinMs);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#process?.stop();
    await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Start, wait until ready, wait for the exit, pause, and again; ends when closed or given up. */
  async #run(): Promise<SpoolError | undefined> {
    const { firstDelayMs = 200, maxDelayMs = 10_000, quickMs = 10_000, maxQuickDeaths = 5 } = this.spec.restart ?? {};
    const logTimer = setInterval(() => {
      cutLogFile(this.spec.logFile);
    }, logCheckMs).unref();
    let quickDeaths = 0;
    try {
      while (!this.#isClosing()) {
        // 1. Start it and see whether it gets ready.
        const process = (this.#process = startProcess(this.spec));
        this.#set({ kind: 'starting', pid: process.pid });
        const readyAt = await this.#untilServing(process);
        if (readyAt !== undefined) this.#set({ kind: 'ready', pid: process.pid, tookMs: readyAt - process.startedAt });
        // 2. Wait for its end.
        const exit = await process.exited;
        this.#process = undefined;
        if (this.#isClosing()) break;
        if (exit.error !== undefined) return this.#fail(missing(this.spec, exit.error));
        if (this.#restartAsked) {
          this.#restartAsked = false;
          continue;
        }
        // 3. Count, give up or pause.
        const lived = performance.now() - (readyAt ?? process.startedAt);
        quickDeaths = readyAt === undefined || lived < quickMs ? quickDeaths + 1 : 1;
        const reason = readyAt === undefined ? `${describe(exit)} before it was ready` : describe(exit);
        if (quickDeaths >= maxQuickDeaths) return this.#fail(failed(this.spec, quickDeaths, reason));
        const delayMs = Math.max(this.#awayMs, Math.min(maxDelayMs, firstDelayMs * 2 ** (quickDeaths - 1)));
        this.#awayMs = 0;
        this.#set({ kind: 'waiting', reason, delayMs });
        await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      }
      this.#set({ kind: 'stopped' });
      return undefined;
    } catch (thrown) {
      // Such as a log file that cannot be opened.
      this.#process?.signal('SIGKILL');
      return this.#fail(toSpoolError(thrown));
    } finally {
      clearInterval(logTimer);
    }
  }

  /** The time at which the child served; undefined when it died first or was killed because it was late. */
  async #untilServing(process: RunningProcess): Promise<number | undefined> {
    const { ready, readyTimeoutMs = 60_000 } = this.spec;
    const giveUp = new AbortController();
    const timer = setTimeout(() => {
      giveUp.abort(new Error(`not ready within ${readyTimeoutMs} ms`));
    }, readyTimeoutMs);
    const late = new Promise<'late'>((resolve) => {
      giveUp.signal.addEventListener('abort', () => resolve('late'), { once: true });
    });
    const serving = ready === 'ipc' ? process.saidReady : ready(giveUp.signal);
    const outcome = await Promise.race([
      serving.then(
        () => 'ready' as const,
        () => 'late' as const,
      ),
      process.exited.then(() => 'exited' as const),
      late,
    ]);
    clearTimeout(timer);
    giveUp.abort();
    if (outcome === 'late') process.signal('SIGKILL');
    return outcome === 'ready' ? performance.now() : undefined;
  }

  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  #set(state: ChildState): void {
    this.state = state;
    this.spec.onState?.(state);
    for (const watcher of [...this.#watchers]) watcher();
  }

  #fail(error: SpoolError): SpoolError {
    this.#set({ kind: 'failed', error });
    return error;
  }

  #until(reached: (state: ChildState) => boolean, withinMs?: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
      };
      const look = (): void => {
        if (reached(this.state)) {
          done();
          resolve();
        } else if (this.state.kind === 'failed') {
          done();
          reject(this.state.error);
        } else if (this.state.kind === 'stopped') {
          done();
          reject(new SpoolError('UNAVAILABLE', `${this.name} was stopped`));
        }
      };
      const expire = (): void => {
        done();
        reject(new SpoolError('UNAVAILABLE', `${this.name} was not ready within ${String(withinMs)} ms`));
      };
      const timer = withinMs === undefined ? undefined : setTimeout(expire, withinMs);
      this.#watchers.add(look);
      look();
    });
  }
}

function describe(exit: Exit): string {
  return exit.signal === null ? `exited with code ${String(exit.code)}` : `was ended by ${exit.signal}`;
}

function failed(spec: ChildSpec, deaths: number, reason: string): SpoolError {
  const line = lastLogLine(spec.logFile);
  const said = line === undefined ? '' : `; its last line: ${line}`;
  return new SpoolError('CHILD_FAILED', `${spec.name} died ${deaths} times in a row, last it ${reason}; log: ${spec.logFile}${said}`);
}

function missing(spec: ChildSpec, error: NodeJS.ErrnoException): SpoolError {
  return new SpoolError('TOOL_MISSING', `${spec.name} could not be started: ${spec.command}: ${error.code ?? error.message}`, {
    cause: error,
  });
}
