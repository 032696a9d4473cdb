import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Step, Taken } from '../steps.js';
import type { ContenderConfig, ContenderName } from './contenders/contender.js';
import type { OverloadStep, OverloadTaken } from './overload.js';

export interface Result<T> {
  readonly taken: T;
  readonly peakRssMb: number;
  /** Microseconds of the process for each call, the callers' part and the warm-up's included. */
  readonly cpuUs: number;
}

export interface RunningContender extends AsyncDisposable {
  take(step: Step): Promise<Result<Taken>>;
  take(step: OverloadStep): Promise<Result<OverloadTaken>>;
}

const main = fileURLToPath(new URL('contenders/main.js', import.meta.url));
const answerMs = 120_000;
const closeMs = 15_000;

/** Resolves when it can be called. It ends with this process. @param profileDir takes a CPU profile. @throws Error when it dies, or is silent */
export async function startContender(
  name: ContenderName | 'callers',
  config: ContenderConfig,
  profileDir?: string,
): Promise<RunningContender> {
  const profiled = profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`];
  const child = fork(main, [name, JSON.stringify(config)], {
    serialization: 'advanced',
    execArgv: ['--enable-source-maps', '--max-semi-space-size=64', ...profiled],
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const answer = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} did not answer within ${answerMs} ms`)), answerMs);
      child.once('message', (message) => {
        clearTimeout(timer);
        resolve(message);
      });
      void exited.then(() => {
        clearTimeout(timer);
        reject(new Error(`${name} ended early`));
      });
    });
  await answer();
  return {
    take(step: Step | OverloadStep) {
      const taken = answer();
      child.send(step);
      return taken as Promise<never>;
    },
    async [Symbol.asyncDispose]() {
      const timer = setTimeout(() => child.kill('SIGKILL'), closeMs);
      if (child.connected) child.send('close');
      await exited;
      clearTimeout(timer);
    },
  };
}
