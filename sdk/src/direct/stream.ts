import { SpoolError } from '@spool/schemas';
import { backOffMs } from '@spool/streams';
import type { StreamCall, StreamLink, StreamSink } from './call.js';
import { maxWindow } from './frames.js';

export interface StreamOptions {
  /** Elements that may be on their way or wait to be taken; few make it wait for each way there and back. 2 to 256. @default 64 */
  readonly window?: number;
  /** How long a stream that broke is tried to be taken up again, in milliseconds. @default 8000 */
  readonly resumeWithinMs?: number;
  /** How long nothing may come of what may, in milliseconds. @default 30000 */
  readonly idleMs?: number;
  readonly signal?: AbortSignal;
}
/** Elements of more than that are confirmed sooner than by their number. */
const confirmBytes = 512 * 1024;

/** What all connections of a stream have in common. */
export type NewStream = Omit<StreamCall, 'after' | 'upTo'>;
export interface ReceivedElement {
  readonly type: string;
  readonly value: Uint8Array;
}

/**
 * The elements of one stream, each once and in order, over as many connections as it takes. It begins with the first `next`.
 * @param connect goes to whoever has it, or another @param call without what only one connection knows
 */
export async function* takeStream(
  connect: (call: StreamCall, sink: StreamSink, brokenMs: number) => StreamLink,
  call: NewStream,
  { window: wanted = 64, resumeWithinMs = 8000, idleMs = 30_000, signal }: StreamOptions = {},
): AsyncGenerator<ReceivedElement, undefined> {
  const window = Math.min(Math.max(wanted, 2), maxWindow);
  const waiting: ReceivedElement[] = [];
  let unconfirmedBytes = 0;
  let [received, taken, granted] = [0, 0, 0];
  let link: StreamLink | undefined;
  let completed = false;
  let failure: SpoolError | undefined;
  let brokenAt: number | undefined;
  let failures = 0;
  let again: NodeJS.Timeout | undefined;
  let idle: NodeJS.Timeout | undefined;
  let wake: (() => void) | undefined;

  const ended = (): boolean => completed;
  const fail = (error: SpoolError): void => {
    failure ??= error;
    wake?.();
  };
  const heard = (): void => {
    clearTimeout(idle);
    const late = (): void => fail(new SpoolError('INDETERMINATE', `${call.type}: nothing came for ${idleMs} ms`));
    if (received < granted) idle = setTimeout(late, idleMs);
  };
  const attach = (): void => {
    granted = taken + window;
    let mine = true;
    const sink: StreamSink = {
      next(number, type, value) {
        // What was on its way over a connection that is given up.
        if (!mine || number <= received) return;
        if (number !== received + 1 || number > granted) {
          fail(new SpoolError('INTERNAL', `${call.type}: element ${number} came, not ${received + 1} of at most ${granted}`));
          return;
        }
        received = number;
        [brokenAt, failures] = [undefined, 0];
        waiting.push({ type, value });
        unconfirmedBytes += value.length;
        heard();
        wake?.();
      },
      completed(last) {
        if (!mine) return;
        if (last !== received) fail(new SpoolError('INTERNAL', `${call.type}: it ends with ${last}, and ${received} have come`));
        completed = true;
        wake?.();
      },
      failed(error) {
        if (!mine) return;
        mine = false;
        link = undefined;
        brokenAt ??= performance.now();
        const passing = error.facts.lost === true || error.facts.unreached === true || (error.code === 'OVERLOADED' && received === 0);
        if (!passing || performance.now() - brokenAt > resumeWithinMs) fail(error);
        else again = setTimeout(attach, backOffMs(failures++));
      },
    };
    const brokenMs = brokenAt === undefined ? 0 : performance.now() - brokenAt;
    link = connect({ ...call, after: received, upTo: granted }, sink, brokenMs);
  };
  const aborted = (): void => fail(new SpoolError('INDETERMINATE', `${call.type}: it was given up`));
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted === true) aborted();
  else attach();
  heard();
  try {
    for (;;) {
      const next = waiting.shift();
      if (next !== undefined) {
        taken += 1;
        if (granted - taken <= window / 2 || unconfirmedBytes > confirmBytes) {
          granted = taken + window;
          unconfirmedBytes = 0;
          link?.grant(granted, received);
          heard();
        }
        yield next;
      } else if (failure !== undefined) throw failure;
      else if (ended()) return undefined;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    clearTimeout(again);
    clearTimeout(idle);
    signal?.removeEventListener('abort', aborted);
    link?.cancel();
  }
}
