import { catalogue, SpoolError, toSpoolError, type ErrorCode } from '@spool/schemas';
import type { Events } from './events.js';
import { routingKey } from './routing.js';

/** What a process offers to others: its methods take and give what the serializer of the root can write. */
// Parameters are contravariant: only `never` takes the methods of all services.
export type RemoteService = Readonly<Record<string, (...args: never[]) => unknown>>;
/** The same, as whoever calls it sees it. */
export type Remote<S extends object> = {
  readonly [M in keyof S]: S[M] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never;
};

export interface RemoteOptions {
  /** The first word of the routings, as the events have it. */
  readonly root: string;
  /** The name of the service: a word. */
  readonly service: string;
  /** Of ids. */
  readonly newId: () => string;
}
export interface ConsumeOptions extends RemoteOptions {
  /** How long a call may take, in milliseconds; it is not begun later, and what it gives after that is passed over. @default 30000 */
  readonly timeoutMs?: number;
  /** For how long it is known who offers the service, in milliseconds. @default 10000 */
  readonly cacheMs?: number;
  /** How long those who offer it are waited for, in milliseconds. @default 1000 */
  readonly findMs?: number;
  /** Ends all calls. */
  readonly signal?: AbortSignal;
  /** @default Date.now */
  readonly now?: () => number;
}

interface Call {
  readonly call: string;
  /** Where the answer goes. */
  readonly from: string;
  /** One of those who offer it; the others leave it alone. None: who offers it says so. */
  readonly to?: string;
  readonly args?: readonly never[];
  /** Milliseconds since the epoch. */
  readonly deadline: number;
}
interface Return {
  readonly call: string;
  readonly by: string;
  readonly value?: unknown;
  readonly error?: { readonly code: string; readonly message: string };
}

/** No method of JavaScript is called so. */
const find = '-find';
const transient = { delivery: 'transient' } as const;

/**
 * Offers a service to all processes that have these events. A call is carried out by one of those who offer it, once.
 * @returns takes the offer back; what is under way is answered
 */
export async function expose(
  events: Events,
  { root, service, newId }: RemoteOptions,
  methods: RemoteService,
  now: () => number = Date.now,
): Promise<{ close(): Promise<void> }> {
  const by = newId();
  const answer = async ({ call, from }: Call, rest: Omit<Return, 'call' | 'by'>): Promise<void> => {
    const name = declareAnswers(events, root, service, from);
    await events.fire(name, { call, by, ...rest } satisfies Return);
  };
  const carryOut = async (method: string, call: Call): Promise<void> => {
    const work = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (work === undefined) {
      await answer(call, { error: { code: 'NOT_FOUND', message: `${service} has no method ${method}` } });
      return;
    }
    // Whoever called has given it up.
    if (now() > call.deadline) return;
    try {
      await answer(call, { value: (await work(...(call.args ?? []))) ?? null });
    } catch (thrown) {
      const { code, message, cause } = toSpoolError(thrown);
      await answer(call, { error: { code, message: cause instanceof Error ? cause.message : message } });
    }
  };
  const pattern = { routing: `${root}.command.${service}.info.*` };
  const subscriber = `${service} ${by}`;
  await events.subscribe<Call>(pattern, subscriber, ({ routing, data }) => {
    if (data.to === undefined) return answer(data, {});
    if (data.to !== by) return undefined;
    // A long call holds up no other.
    void carryOut(routing!.slice(routing!.lastIndexOf('.') + 1), data).catch(() => undefined);
    return undefined;
  });
  return { close: () => events.unsubscribe(pattern, subscriber) };
}

/**
 * Calls a service that other processes offer, each in turn.
 * @throws SpoolError from a call: UNAVAILABLE (nobody offers it), INDETERMINATE (no answer in time, or aborted: whether it was carried out is not
 *   known), NOT_FOUND (no such method), and what the method threw, by its code
 */
export async function consume<S extends object>(
  events: Events,
  options: ConsumeOptions,
): Promise<{ readonly remote: Remote<S>; close(): Promise<void> }> {
  const { root, service, newId, timeoutMs = 30_000, cacheMs = 10_000, findMs = 1000, now = Date.now } = options;
  const from = newId();
  const waiting = new Map<string, (answer: Return) => void>();
  const answers = declareAnswers(events, root, service, from);
  let known: { readonly at: number; readonly offers: string[] } = { at: Number.NEGATIVE_INFINITY, offers: [] };
  let turn = 0;
  const closing = new AbortController();

  await events.subscribe<Return>(answers, from, ({ data }) => waiting.get(data.call)?.(data));
  const command = (method: string): string => {
    const name = `rpc ${service} ${method}`;
    events.declare(name, { routing: { root, kind: 'command', category: [service], severity: 'info', detail: method }, ...transient });
    return name;
  };
  /** Who offers it: the first who says so, and all who do within a moment after. */
  const offersOf = async (): Promise<readonly string[]> => {
    if (now() - known.at < cacheMs && known.offers.length > 0) return known.offers;
    const call = newId();
    const offers: string[] = [];
    const first = new Promise<boolean>((resolve) => {
      // Whoever is slower to say so is among them from then on.
      waiting.set(call, ({ by }) => {
        offers.push(by);
        resolve(true);
      });
      const end = (): void => {
        clearTimeout(late);
        closing.signal.removeEventListener('abort', end);
        waiting.delete(call);
        resolve(false);
      };
      const late = setTimeout(end, findMs);
      closing.signal.addEventListener('abort', end, { once: true });
    });
    await events.fire(command(find), { call, from, deadline: now() + findMs } satisfies Call);
    if (!(await first)) throw new SpoolError('UNAVAILABLE', `nobody offers the service ${service}`, { retryAfterMs: findMs });
    known = { at: now(), offers };
    return offers;
  };
  const callMethod = async (method: string, args: readonly unknown[]): Promise<unknown> => {
    const offers = await offersOf();
    const to = offers[turn++ % offers.length]!;
    const call = newId();
    const name = command(method);
    let stop!: (why: string) => void;
    const answered = new Promise<Return>((resolve, reject) => {
      waiting.set(call, resolve);
      stop = (why) => reject(new SpoolError('INDETERMINATE', `${service}.${method}: ${why}; whether it was carried out is not known`));
    });
    // It may end before it is waited for.
    answered.catch(() => undefined);
    const late = setTimeout(() => {
      // It may be gone: the next call looks anew.
      known = { at: Number.NEGATIVE_INFINITY, offers: [] };
      stop(`no answer in ${timeoutMs} ms`);
    }, timeoutMs);
    const over = AbortSignal.any([closing.signal, ...(options.signal === undefined ? [] : [options.signal])]);
    const aborted = (): void => stop('it was aborted');
    over.addEventListener('abort', aborted, { once: true });
    if (over.aborted) aborted();
    try {
      await events.fire(name, { call, from, to, args: args as readonly never[], deadline: now() + timeoutMs } satisfies Call);
      const { error, value } = await answered;
      if (error !== undefined) throw remoteError(error);
      return value;
    } finally {
      clearTimeout(late);
      over.removeEventListener('abort', aborted);
      waiting.delete(call);
    }
  };
  const remote = new Proxy({} as Remote<S>, {
    // A promise is known by its `then`: this is none.
    get: (_, method) => (typeof method !== 'string' || method === 'then' ? undefined : (...args: unknown[]) => callMethod(method, args)),
  });
  return {
    remote,
    async close() {
      closing.abort();
      await events.unsubscribe(answers, from);
    },
  };
}

function declareAnswers(events: Events, root: string, service: string, to: string): string {
  const routing = { root, kind: 'return', category: [service], severity: 'info', detail: to } as const;
  const name = `rpc ${routingKey(routing)}`;
  events.declare(name, { routing, ...transient });
  return name;
}

function remoteError({ code, message }: NonNullable<Return['error']>): SpoolError {
  return new SpoolError(Object.hasOwn(catalogue, code) ? (code as ErrorCode) : 'INTERNAL', message);
}
