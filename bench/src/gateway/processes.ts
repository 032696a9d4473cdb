import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const answerMs = 120_000;

/** A process of its own, as the platform starts its own ones. @param file beside this one, compiled @param args it gets them as JSON */
export const start = (file: string, ...args: readonly unknown[]): ChildProcess =>
  fork(
    fileURLToPath(new URL(file, import.meta.url)),
    args.map((each) => JSON.stringify(each)),
    { serialization: 'advanced', execArgv: ['--enable-source-maps', '--max-semi-space-size=64'] },
  );

/** What it says next. @throws Error when it ends, or is silent */
export function next<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      fail('ended early');
    };
    const timer = setTimeout(() => fail(`did not answer within ${answerMs} ms`), answerMs);
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`${child.spawnfile} ${child.spawnargs.at(-2) ?? ''} ${why}`));
    };
    child.once('exit', ended);
    child.once('message', (message) => {
      clearTimeout(timer);
      child.off('exit', ended);
      resolve(message as T);
    });
  });
}
