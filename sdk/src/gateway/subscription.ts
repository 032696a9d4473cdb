import { randomUUID } from 'node:crypto';
import { SpoolError, type Reply } from '@spool/schemas';
import { backOffMs, type Offset } from '@spool/streams';
import { fromToken, reached } from '../position/token.js';
import type { Answer, QuerySubscription, SubscribeRequest } from './messages.js';
import type { Replies } from './replies.js';

/** The header by which a query asks for updates too: who subscribes, and for how long unless it is asked again. Zero ends it. */
export const subscribeHeader = 'subscribe';
export const toSubscribeHeader = ({ id, leaseMs }: SubscribeRequest): string => `${id};${leaseMs}`;
/** @throws SpoolError INVALID_REQUEST */
export function fromSubscribeHeader(header: string): SubscribeRequest {
  const [, id, leaseMs] = /^([\w-]{1,100});(\d{1,6})$/.exec(header) ?? [];
  if (id === undefined)
    throw new SpoolError('INVALID_REQUEST', `the header ${subscribeHeader} is to be an id and milliseconds, as in a1;15000`);
  return { id, leaseMs: Number(leaseMs) };
}

export interface SubscriptionOptions<View> {
  readonly replies: Replies;
  /** Sends the query once more. @param first it has not been answered yet */
  readonly send: (request: SubscribeRequest, first: boolean) => Promise<unknown>;
  readonly decode: (reply: Reply & { readonly view: Buffer }) => Promise<Answer<View>>;
  readonly refused: (reply: Reply) => SpoolError;
  /** How long to wait for the first answer; nor is it given up sooner later on. Milliseconds. */
  readonly timeoutMs: number;
  /** It is renewed three times in this time, and given up when nobody has answered for twice as long, and for `timeoutMs`. Milliseconds. */
  readonly leaseMs: number;
  readonly signal: AbortSignal | undefined;
  /** Called at the first `next`. @throws SpoolError OVERLOADED. @returns called at the end */
  readonly enter: () => () => void;
}

/**
 * The answers to one query as they change. It begins with the first `next`; what waits to be taken is one answer, the latest. Whoever serves it may
 * change: an answer that is older than one passed on, or the same, is passed over.
 */
export function openSubscription<View>(options: SubscriptionOptions<View>): QuerySubscription<View> {
  const { replies, decode, refused, timeoutMs, leaseMs, signal } = options;
  const id = randomUUID();
  let over = signal?.aborted === true;
  let failure: SpoolError | undefined;
  let waiting: (Reply & { readonly view: Buffer }) | undefined;
  let last: { readonly view: Buffer; readonly position: ReadonlyMap<string, Offset> } | undefined;
  let wake: (() => void) | undefined;
  let heardAt = performance.now();
  let complaint: SpoolError | undefined;
  let failures = 0;
  let again: NodeJS.Timeout | undefined;

  const ended = (): boolean => over;
  const end = (): void => {
    over = true;
    wake?.();
  };
  const fail = (error: SpoolError): void => {
    failure ??= error;
    wake?.();
  };
  const request = (): void => {
    clearTimeout(again);
    if (over) return;
    const silentMs = performance.now() - heardAt;
    if (last !== undefined && silentMs > Math.max(2 * leaseMs, timeoutMs)) {
      return fail(complaint ?? new SpoolError('INDETERMINATE', `nobody has answered the subscription for ${Math.round(silentMs)} ms`));
    }
    again = setTimeout(request, leaseMs / 3);
    options.send({ id, leaseMs }, last === undefined).catch(complain);
  };
  /** Before the first answer it is the answer; afterwards somebody else may take it over. */
  const complain = (thrown: unknown): void => {
    if (over) return;
    const error = thrown instanceof SpoolError ? thrown : new SpoolError('INTERNAL', String(thrown), { cause: thrown });
    if (last === undefined || error.entry.retryable !== 'backoff') return fail(error);
    complaint = error;
    clearTimeout(again);
    again = setTimeout(request, Math.min(leaseMs / 3, backOffMs(failures++)));
  };
  const reply = (reply: Reply): void => {
    const { outcome, view, position: token } = reply;
    if (outcome !== 'answered' || view === null) return complain(refused(reply));
    heardAt = performance.now();
    failures = 0;
    const position = fromToken(token);
    if (last !== undefined && (!reached(position, last.position) || view.equals(last.view))) return;
    last = { view, position };
    waiting = { ...reply, view };
    wake?.();
  };
  const answers = (async function* (): AsyncGenerator<Answer<View>, undefined> {
    if (over) return;
    const leave = options.enter();
    heardAt = performance.now();
    const forget = replies.listen(id, { reply, fail });
    const late = setTimeout(() => {
      if (last === undefined) fail(new SpoolError('INDETERMINATE', `no answer to the subscription within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      request();
      for (;;) {
        if (ended()) return;
        if (waiting !== undefined) {
          const taken = waiting;
          waiting = undefined;
          yield await decode(taken);
        } else if (failure !== undefined) throw failure;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      over = true;
      clearTimeout(late);
      clearTimeout(again);
      forget();
      leave();
      signal?.removeEventListener('abort', end);
      // Whoever serves it need not wait for the end of the lease; should this be lost, it does.
      options.send({ id, leaseMs: 0 }, false).catch(() => undefined);
    }
  })();
  signal?.addEventListener('abort', end, { once: true });
  const close = async (): Promise<void> => {
    end();
    await answers.return(undefined);
  };
  const subscription: QuerySubscription<View> = {
    next: () => answers.next(),
    async return() {
      await close();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]: () => subscription,
    [Symbol.asyncDispose]: close,
  };
  return subscription;
}
