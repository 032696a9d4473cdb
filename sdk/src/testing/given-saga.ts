import type { PayloadOf } from '@spool/schemas';
import type { CommandTarget } from '../messages.js';
import type { Payloads } from '../payloads.js';
import type { Saga, SagaOutcome } from '../saga/saga.js';
import { stepSaga, type SagaInput, type SagaRow, type SentCommand } from '../saga/step.js';
import { equal, frozenPlain, received, same, untouching } from './compare.js';
import type { GivenEvent } from './given-events.js';

/** A command as a saga sends it: `{ target: Stock, type: 'Reserve', id: 'nut', payload: { pieces: 1 } }`. */
export interface ExpectedCommand {
  readonly target: { readonly name: string };
  readonly type: string;
  /** Of the aggregate; of a service, the lock or null. */
  readonly id: string | null;
  readonly payload: unknown;
}

/** A saga with its instances and its clock. What is looked at with `then...` is of the last `when...`; each gives the same scenario back. */
export interface GivenSaga {
  /** What has happened so far. */
  events(...events: readonly GivenEvent[]): GivenSaga;
  /** An event comes, at the time of the clock unless it has one of its own. */
  when(event: GivenEvent): GivenSaga;
  /** Time passes, and the timers that come due by it fire, in order, each at its time. */
  whenTimePasses(ms: number): GivenSaga;
  /** The saga hears what became of the first such command whose outcome it awaits. @throws Error when it awaits none */
  whenOutcome(type: string, id: string | null, outcome?: Partial<Pick<SagaOutcome, 'status' | 'code' | 'detail' | 'version'>>): GivenSaga;
  /** Exactly these, in order; none at all: it sent nothing. @throws AssertionError */
  thenSends(...commands: readonly ExpectedCommand[]): GivenSaga;
  /** @param id of the instance. @default the only one. @throws AssertionError */
  thenState(state: unknown, id?: string): GivenSaga;
  /** Its open timers, with the times at which they are due. @throws AssertionError */
  thenTimers(timers: Readonly<Record<string, number>>, id?: string): GivenSaga;
  /** @throws AssertionError */
  thenEnded(id?: string): GivenSaga;
}

/** More in a row is a timer that sets itself again and again. */
const maxTimers = 10_000;

/**
 * Given events and a clock, when an event, an outcome or time, then commands, a state, timers or an end:
 * `givenSaga(Orders).when(placed).thenSends(reserve).whenTimePasses(1000).thenSends(confirm)`.
 *
 * Steps are those that the host runs, and each runs twice, on frozen values: what is not pure, or what a store would lose, fails the test.
 * Events and commands go through their Avro schemas.
 * @param now where the clock starts, in milliseconds. @default 0
 */
export function givenSaga(saga: Saga, { now = 0 }: { readonly now?: number } = {}): GivenSaga {
  const rows = new Map<string, SagaRow>();
  let clock = now;
  let events = 0;
  let sent: readonly SentCommand[] = [];

  const step = (id: string, input: SagaInput): void => {
    const once = () =>
      untouching(`${saga.name} on ${'type' in input ? input.type : input.kind}`, () => stepSaga(saga, id, rows.get(id), input));
    const stepped = once();
    if (!equal(stepped, once()))
      throw new Error(`${saga.name} does otherwise when the step runs again; it may use nothing but what it is given`);
    if (stepped === undefined) return;
    rows.set(id, frozenPlain(stepped.row, `the state of ${saga.name}`));
    for (const { target, type, payload } of stepped.commands) received(target.commands[type]!, payload);
    sent = [...sent, ...stepped.commands];
  };
  const take = ({ type, data, aggregateId = 'id', at = clock }: GivenEvent): void => {
    const source = saga.of.find((each) => Object.hasOwn(each.events, type));
    if (source === undefined) throw new Error(`${type} is not among the events of ${saga.of.map(({ name }) => name).join(', ')}`);
    const reaction = saga.on[type];
    if (reaction === undefined) return;
    events += 1;
    const context = {
      source: source.name,
      eventId: `event-${events}`,
      aggregateId,
      version: events,
      at,
      replayId: undefined,
      correlationId: undefined,
    };
    const event = received(source.events[type]!, data);
    const ids = reaction.by(event as never, context as never) as string | readonly string[] | undefined;
    for (const id of new Set(ids === undefined ? [] : [ids].flat())) step(id, { kind: 'event', type, data: event, context, meta: {} });
  };
  const due = (until: number): { id: string; name: string; at: number } | undefined =>
    [...rows]
      .flatMap(([id, { timers }]) => Object.entries(timers).map(([name, at]) => ({ id, name, at })))
      .filter(({ at }) => at <= until)
      .sort((a, b) => a.at - b.at || (a.id + a.name < b.id + b.name ? -1 : 1))[0];
  const rowOf = (id: string | undefined): SagaRow => {
    const [only] = rows.keys();
    if (id === undefined && rows.size > 1)
      throw new Error(`${saga.name} has several instances: say which of ${[...rows.keys()].join(', ')}`);
    const row = rows.get(id ?? only ?? '');
    if (row === undefined) throw new Error(`${saga.name} has no instance${id === undefined ? '' : ` ${id}`}`);
    return row;
  };
  const scenario: GivenSaga = {
    events(...past) {
      for (const event of past) take(event);
      return scenario;
    },
    when(event) {
      sent = [];
      take(event);
      return scenario;
    },
    whenTimePasses(ms) {
      sent = [];
      const until = clock + ms;
      let fired = 0;
      for (let next = due(until); next !== undefined; next = due(until)) {
        if (++fired > maxTimers)
          throw new Error(`${saga.name} fired ${maxTimers} timers in ${ms} ms; ${next.name} sets itself again and again`);
        clock = Math.max(clock, next.at);
        step(next.id, { kind: 'timer', name: next.name, due: next.at, at: clock });
      }
      clock = until;
      return scenario;
    },
    whenOutcome(type, id, { status = 'applied', code = '', detail = '', version = null } = {}) {
      sent = [];
      const awaited = [...rows].flatMap(([instance, { pending }]) =>
        Object.entries(pending).map(([commandId, command]) => ({ instance, commandId, ...command })),
      );
      const found = awaited.find((each) => each.type === type && (id === null || each.key === id));
      if (found === undefined) {
        const known = awaited.map((each) => `${each.type} ${each.key}`).join(', ');
        throw new Error(`${saga.name} awaits no outcome of ${type} ${id ?? ''}; it awaits ${known === '' ? 'none' : known}`);
      }
      step(found.instance, {
        kind: 'outcome',
        at: clock,
        meta: {},
        outcome: { commandId: found.commandId, status, code, detail, version },
      });
      return scenario;
    },
    thenSends(...commands) {
      same(
        `the commands of ${saga.name}`,
        sent.map(({ target, type, key, payload }) => plain(target, type, key, payload)),
        commands.map(({ target, type, id, payload }) => plain(targetOf(saga, target.name, type), type, id, payload)),
      );
      return scenario;
    },
    thenState(state, id) {
      same(`the state of ${saga.name}`, rowOf(id).state, state);
      return scenario;
    },
    thenTimers(timers, id) {
      same(`the timers of ${saga.name}`, rowOf(id).timers, timers);
      return scenario;
    },
    thenEnded(id) {
      same(`whether ${saga.name} has ended`, rowOf(id).ended, true);
      return scenario;
    },
  };
  return scenario;
}

const plain = ({ name, commands }: CommandTarget, type: string, id: string | null, payload: unknown): object => ({
  to: name,
  type,
  id,
  payload: received<PayloadOf<Payloads[string]>>(commands[type]!, payload),
});

function targetOf(saga: Saga, name: string, type: string): CommandTarget {
  const target = saga.sends.find((each) => each.name === name && Object.hasOwn(each.commands, type));
  if (target === undefined) throw new Error(`${saga.name} does not declare that it sends ${type} to ${name}`);
  return target;
}
