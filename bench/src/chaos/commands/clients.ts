import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SpoolError, type CommandGateway } from '@spool/sdk';
import { Account } from './account.js';
import type { Attempt, Call, Outcome } from './history.js';

export interface ClientsOptions {
  readonly gateway: CommandGateway;
  readonly clients: number;
  readonly commands: number;
  readonly aggregates: number;
  /** Commands a second at the most, over all clients. */
  readonly rate: number;
  readonly random: () => number;
  readonly over: AbortSignal;
  /** No further command is begun when it fires. */
  readonly enough?: AbortSignal;
  /** Each outcome as it is told. */
  readonly onAttempt?: (call: Pick<Call, 'commandId' | 'aggregateId'>, attempt: Attempt) => void;
}

export interface Clients {
  /** Commands that have their final answer. */
  readonly answered: number;
  /** All that was sent so far. */
  readonly history: readonly Call[];
  /** Resolves when all of it has been answered or given up. */
  readonly ended: Promise<void>;
}

/** How long one attempt waits; short, so that commands expire where nobody decides them. */
const attemptMs = 2000;
/** A command without an answer is given up then. */
const giveUpMs = 90_000;
/** What leaves it open whether anything was done: the same id is sent again. */
const open: readonly string[] = ['INDETERMINATE', 'UNAVAILABLE', 'EXPIRED', 'OVERLOADED', 'KAFKA_UNAVAILABLE'];

type Growing = Omit<Call, 'attempts'> & { readonly attempts: Attempt[] };

/**
 * So many clients send commands with exact expected versions, mostly to few of the aggregates, one after the other each. Some name a version on
 * purpose that is not the present one. What is not answered is sent again under its id, and so is, at random, what was answered long ago.
 */
export function startClients(options: ClientsOptions): Clients {
  const { random, commands, over } = options;
  const history: Growing[] = [];
  const settled: Growing[] = [];
  const versions = new Map<string, number>();
  const pauseMs = (1000 * options.clients) / options.rate;
  let answered = 0;
  let next = 0;
  const pick = (below: number): number => Math.floor(random() * below);

  const attempt = async (call: Growing): Promise<Outcome> => {
    const invokedAt = Date.now();
    const outcome = await told(options.gateway, call);
    const made: Attempt = { invokedAt, returnedAt: Date.now(), outcome };
    call.attempts.push(made);
    options.onAttempt?.(call, made);
    const version = outcome.kind === 'conflict' ? outcome.actual : 'version' in outcome ? outcome.version : 0;
    versions.set(call.aggregateId, Math.max(version, versions.get(call.aggregateId) ?? 0));
    return outcome;
  };
  const untilAnswered = async (call: Growing): Promise<void> => {
    const until = Date.now() + giveUpMs;
    while ((await attempt(call)).kind === 'unknown' && Date.now() < until) await sleep(20 + 180 * random(), undefined, { signal: over });
  };
  const compose = (): Growing => {
    const aggregateId = `a${Math.floor(random() ** 2 * options.aggregates)}`;
    const known = versions.get(aggregateId) ?? 0;
    const luck = random();
    // Beyond all that it will ever come to, so that it never comes true.
    const expected = luck < 0.02 ? known + 1_000_000 : luck < 0.06 ? Math.max(0, known - 1 - pick(3)) : known;
    const events = random() < 0.03 ? 0 : random() < 0.8 ? 1 : 2 + pick(3);
    return { commandId: randomUUID(), aggregateId, expected, events, attempts: [] };
  };
  const client = async (): Promise<void> => {
    while (next < commands && options.enough?.aborted !== true) {
      next += 1;
      // What an outage has held up is not made good in a rush: the next disturbance is to meet work too.
      await sleep(pauseMs * 2 * random(), undefined, { signal: over });
      over.throwIfAborted();
      const call = compose();
      history.push(call);
      await untilAnswered(call);
      answered += 1;
      const last = call.attempts.at(-1)?.outcome.kind;
      // Of what is refused as a conflict nothing is recorded.
      if (last === 'applied' || last === 'duplicate' || last === 'rejected') settled.push(call);
      if (settled.length > 0 && random() < 0.05) await untilAnswered(settled[pick(settled.length)]!);
    }
  };
  const ended = Promise.all(Array.from({ length: options.clients }, client)).then(() => undefined);
  ended.catch(() => undefined);
  return {
    get answered() {
      return answered;
    },
    history,
    ended,
  };
}

async function told(gateway: CommandGateway, { commandId, aggregateId, expected, events }: Growing): Promise<Outcome> {
  const options = { commandId, expectedVersion: expected, timeoutMs: attemptMs };
  try {
    const result = await gateway.send(Account, 'Post', aggregateId, { events }, options);
    return { kind: result.status, version: result.version, events: result.events.map(({ id, version }) => ({ id, version })) };
  } catch (thrown) {
    if (!(thrown instanceof SpoolError)) throw thrown;
    if (thrown.code === 'VERSION_CONFLICT') return { kind: 'conflict', actual: Number(thrown.facts['actualVersion']) };
    if (thrown.code === 'REJECTED') return { kind: 'rejected' };
    return { kind: open.includes(thrown.code) ? 'unknown' : 'failed', code: thrown.code };
  }
}
