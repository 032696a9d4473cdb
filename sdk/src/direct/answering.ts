import { readMeta, SpoolError, type Reply } from '@spool/schemas';
import type { Caller } from '../endpoint/tokens.js';
import { addressOf } from '../gateway/gateway.js';
import type { RunningBundle } from '../host/start-bundle.js';
import type { Answered } from '../host/replying.js';
import type { Call } from './call.js';

/** Answers calls, whatever way they came. */
export interface Answering {
  /** Calls under way. */
  readonly inFlight: number;
  /** @throws SpoolError FORBIDDEN, OVERLOADED, UNKNOWN_QUERY, UNKNOWN_COMMAND, UNAVAILABLE, INDETERMINATE */
  answer(caller: Caller, call: Call, signal: AbortSignal): Promise<Reply>;
}
export interface AnsweringOptions {
  /** Calls under way, of all callers; more are refused with OVERLOADED before any work. @default 1024 */
  readonly maxInFlight?: number;
}

const blank = { version: null, events: [], position: '', view: null, problem: null };

/**
 * Queries are answered by the handlers that answer those of Kafka. A command goes into the log by this instance's own gateway, since the owner of its
 * aggregate is the only one who writes: whoever sends it again, here or elsewhere, sends the same command id, and the owner has its outcome.
 */
export function createAnswering(
  { here, gateway, registry, instance }: Pick<RunningBundle, 'here' | 'gateway' | 'registry' | 'instance'>,
  { maxInFlight = 1024 }: AnsweringOptions = {},
): Answering {
  let inFlight = 0;
  instance.load.add(() => ({ inFlight, limit: maxInFlight }));

  const query = async (caller: Caller, { id, type, value, timeoutMs, meta, after }: Call, signal: AbortSignal): Promise<Answered> => {
    const answer = here.queries.get(type);
    if (answer === undefined) throw new SpoolError('UNKNOWN_QUERY', `instance ${instance.id} does not answer ${type}`);
    const deadline = instance.now() + timeoutMs;
    const asked = { ...readMeta({}), ...meta, id, type, source: caller.bundle, correlationId: meta.correlationId ?? id, deadline };
    return answer({ type, value: Buffer.from(value), meta: asked, after: after === '' ? undefined : after }, signal);
  };
  const command = (call: Call): Promise<Reply> => {
    const { id, type, key, value, timeoutMs, meta, refuseReuse, priority } = call;
    const known = registry.payload('command', type);
    if (known === undefined) throw new SpoolError('UNKNOWN_COMMAND', `no bundle declares the command ${type}`);
    const kind = registry.component(known.component)?.kind === 'service' ? 'service' : 'aggregate';
    const target = { kind, name: known.component } as const;
    const address = addressOf(instance.topics, target, key, { commandId: id, ...(priority === undefined ? {} : { priority }) });
    return gateway.request({ topic: address.topic, key: address.key, type, id, value: Buffer.from(value), timeoutMs, refuseReuse, meta });
  };
  return {
    get inFlight() {
      return inFlight;
    },
    async answer(caller, call, signal) {
      if (!caller.payloads.includes(call.type)) {
        throw new SpoolError('FORBIDDEN', `bundle ${caller.bundle} does not declare that it sends or asks ${call.type}`);
      }
      if (inFlight >= maxInFlight) throw new SpoolError('OVERLOADED', `${maxInFlight} calls are under way here`, { retryAfterMs: 1000 });
      inFlight += 1;
      try {
        if (call.kind === 'command') return await command(call);
        using late = timeout(call.timeoutMs, signal);
        const answered = query(caller, call, late.signal);
        return { ...blank, ...(await Promise.race([answered, late.over])) };
      } finally {
        inFlight -= 1;
      }
    },
  };
}

/** Nobody waits any longer: at the end of the time, or when the caller gives it up. A query that goes on has nobody to tell. */
function timeout(ms: number, given: AbortSignal) {
  const end = new AbortController();
  let refuse!: (error: SpoolError) => void;
  const over = new Promise<never>((_, reject) => (refuse = reject));
  over.catch(() => undefined);
  const stop = (): void => {
    end.abort();
    refuse(new SpoolError('INDETERMINATE', given.aborted ? 'it was given up' : `no answer in ${ms} ms`));
  };
  const timer = setTimeout(stop, ms);
  given.addEventListener('abort', stop, { once: true });
  if (given.aborted) stop();
  return {
    signal: end.signal,
    over,
    [Symbol.dispose]() {
      clearTimeout(timer);
      given.removeEventListener('abort', stop);
    },
  };
}
