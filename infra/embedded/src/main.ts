/** Runs the platform on this machine in the foreground; scripts/start.mjs comes here once all is installed and built. */
import { toSpoolError } from '@spool/schemas';
import { parseArgs } from 'node:util';
import { platformConfig } from './platform/config.js';
import { startPlatform, type Platform } from './platform/start.js';

/** Ctrl-C arrives twice when npm passes it on, so a second signal counts only after this time. */
const repeatMs = 1_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { 'no-demo': { type: 'boolean' }, reset: { type: 'boolean' }, rebuild: { type: 'boolean' } },
  });
  const stopping = stopOnSignal();
  let platform: Platform | undefined;
  try {
    platform = await startPlatform(platformConfig(process.env), (line) => console.log(line), {
      deleted: values.reset === true ? 'everything' : values.rebuild === true ? 'derived' : 'nothing',
      demo: values['no-demo'] !== true,
      signal: stopping,
      env: process.env,
    });
    const aborted = new Promise<undefined>((resolve) => {
      if (stopping.aborted) resolve(undefined);
      else stopping.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    const failure = await Promise.race([platform.failed, aborted]);
    if (failure !== undefined) report(failure);
    return failure === undefined ? 0 : 1;
  } catch (error) {
    if (stopping.aborted) return 0;
    report(error);
    return 1;
  } finally {
    await platform?.close();
    if (stopping.aborted) console.log('stopped');
  }
}

/** Aborts at the first SIGINT, SIGTERM or SIGHUP; at a later one gives up waiting: the guards of the children end them. */
function stopOnSignal(): AbortSignal {
  const stop = new AbortController();
  let first: number | undefined;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (first === undefined) {
        first = performance.now();
        console.log('stopping; once more to stop at once');
        stop.abort();
      } else if (performance.now() - first > repeatMs) {
        process.exit(130);
      }
    });
  }
  return stop.signal;
}

function report(thrown: unknown): void {
  const error = toSpoolError(thrown);
  const list = error.violations.map(({ pointer, message }) => `\n  ${pointer} ${message}`);
  console.error(`${error.code}: ${list.length === 0 ? error.message : list.join('')}`);
  console.error(error.entry.remedy);
}

process.exitCode = await main();
