import { toSpoolError, type SpoolError } from '@spool/schemas';
import type { Log } from '../log.js';
import type { ChildState, SupervisedChild } from '../supervisor/supervise.js';
import type { Part, RunningParts } from './part.js';

/**
 * Starts parts stage by stage, with one line for each; when one cannot start, those before it are stopped.
 * @param signal aborting it stops everything, also while it starts
 * @throws the SpoolError of the part that could not start.
 */
export async function runParts(parts: readonly Part[], log: Log, signal: AbortSignal): Promise<RunningParts> {
  const started: { part: Part; children: readonly SupervisedChild[] }[] = [];
  const close = async (): Promise<void> => {
    for (const stage of stagesOf(parts).reverse()) {
      const ending = started.filter(({ part }) => part.stage === stage).flatMap(({ children }) => children);
      await Promise.all(ending.map((child) => child.close()));
    }
  };
  const startPart = async (part: Part, stageSignal: AbortSignal): Promise<void> => {
    const since = performance.now();
    if (part.start === undefined) {
      log(line(part.name, `uses ${part.address}`));
      return;
    }
    const children = await part.start({ signal: stageSignal, onState: narrator(log) });
    started.push({ part, children });
    log(line(part.name, `ready after ${seconds(performance.now() - since)}`, part.address));
  };
  for (const stage of stagesOf(parts)) {
    // Only what is just starting is stopped by the signal itself; what is ready stops in its order, below or in `close`.
    const starting = new AbortController();
    const abort = (): void => starting.abort();
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    // The first failure ends the starts beside it too, and is the one to tell.
    let failure: unknown;
    const ofStage = parts.filter((part) => part.stage === stage);
    const starts = ofStage.map((part) =>
      startPart(part, starting.signal).catch((error: unknown) => {
        failure ??= error;
        abort();
      }),
    );
    await Promise.all(starts);
    signal.removeEventListener('abort', abort);
    if (failure === undefined) continue;
    await close();
    throw toSpoolError(failure);
  }
  return {
    children: started.flatMap(({ children }) => children),
    failed: firstFailure(started, log),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const stagesOf = (parts: readonly Part[]): number[] => [...new Set(parts.map(({ stage }) => stage))].sort((one, other) => one - other);

/** Waits for the end of each child; the failure of a part that is not essential is told, and the others go on. */
function firstFailure(started: readonly { part: Part; children: readonly SupervisedChild[] }[], log: Log): Promise<SpoolError | undefined> {
  return new Promise((resolve) => {
    const endings = started.flatMap(({ part, children }) =>
      children.map(async (child) => {
        const error = await child.ended;
        if (error === undefined) return;
        log(line(part.name, `failed: ${error.message}`));
        if (part.essential) resolve(error);
      }),
    );
    Promise.all(endings).then(
      () => resolve(undefined),
      (error: unknown) => resolve(toSpoolError(error)),
    );
  });
}

/** Tells of deaths and returns; the first start is told by the part's own line. */
export function narrator(log: Log): (child: string, state: ChildState) => void {
  const down = new Set<string>();
  return (child, state) => {
    if (state.kind === 'waiting') {
      down.add(child);
      log(line(child, `${state.reason}; it is started again in ${seconds(state.delayMs)}`));
    } else if (state.kind === 'ready' && down.delete(child)) {
      log(line(child, `ready again after ${seconds(state.tookMs)}`));
    }
  };
}

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

/** One line of the platform's output, in columns. */
export const line = (name: string, ...rest: readonly string[]): string => [name.padEnd(17), ...rest].join('  ');
