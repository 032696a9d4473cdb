import type { PayloadOf } from '@spool/schemas';
import { reject, Rejection, type Aggregate } from '../aggregate/aggregate.js';
import type { MessageOf, Payloads } from '../payloads.js';
import { equal, frozenPlain, received, same, untouching } from './compare.js';

/** An event of the past; `at` is when it was decided, in milliseconds. */
export type Past<E extends Payloads> = MessageOf<E> & { readonly at?: number };

export interface WhenOptions {
  /** The time at which it is decided, in milliseconds since the epoch. @default 0 */
  readonly now?: number;
  /** Gives the ids that `decide` asks for. @default id-1, id-2, ... */
  readonly newId?: () => string;
}

export interface Given<C extends Payloads, E extends Payloads> {
  /** What has happened so far. */
  events(...events: readonly Past<E>[]): Given<C, E>;
  when<K extends keyof C & string>(type: K, command: PayloadOf<C[K]>, options?: WhenOptions): When<C, E>;
  /** @throws AssertionError when the events lead to another state */
  thenState(state: unknown): void;
}

/** What came of a command. It has a `then` and is no promise: end with one of these, and await nothing. */
export interface When<C extends Payloads, E extends Payloads> {
  /** Exactly these events; none at all: it changed nothing. @throws AssertionError */
  then(...events: readonly MessageOf<E>[]): void;
  /** @param code of the rejection, such as that of `reject`, ALREADY_EXISTS, DOES_NOT_EXIST or DELETED. @throws AssertionError */
  thenRejected(code: string): void;
  /** The state with its events. @throws AssertionError */
  thenState(state: unknown): void;
  /** The next command, after its events. @throws Error when it was rejected */
  when<K extends keyof C & string>(type: K, command: PayloadOf<C[K]>, options?: WhenOptions): When<C, E>;
}

interface Row {
  readonly version: number;
  readonly state: unknown;
  /** The event that ended it. */
  readonly deletedBy: string | undefined;
}
type Message = Readonly<{ type: string; data: unknown; at?: number }>;

/**
 * Given events, when a command, then events, a rejection or a state:
 * `given(Flight).events(scheduled).when('DepartFlight', {}).then(departed)`.
 *
 * Everything goes through its Avro schema as it does in Kafka. `decide` and `evolve` run as their host runs them, twice, on frozen values: what
 * is not pure, or what a snapshot would lose, fails the test.
 * @param id of the aggregate. @default 'id'
 */
export const given = <C extends Payloads, E extends Payloads>(aggregate: Aggregate<string, C, E>, id = 'id'): Given<C, E> =>
  givenRow(aggregate, id, { version: 0, state: stateOf(aggregate, aggregate.initial()), deletedBy: undefined });

function givenRow<C extends Payloads, E extends Payloads>(aggregate: Aggregate<string, C, E>, id: string, row: Row): Given<C, E> {
  return {
    events: (...events) =>
      givenRow(
        aggregate,
        id,
        (events as readonly Message[]).reduce((before, event) => evolve(aggregate, id, before, event), row),
      ),
    when: (type, command, options = {}) =>
      whenDecided(aggregate, id, row, type, decide(aggregate, id, row, type, command, options), options.now),
    thenState: (state) => same(`the state of ${aggregate.name}`, row.state, state),
  };
}

function whenDecided<C extends Payloads, E extends Payloads>(
  aggregate: Aggregate<string, C, E>,
  id: string,
  row: Row,
  type: string,
  decision: readonly Message[] | Rejection,
  now = 0,
): When<C, E> {
  const made = decision instanceof Rejection ? [] : decision.map((event) => checked(aggregate, event));
  const after = made.reduce((before, event) => evolve(aggregate, id, before, { ...event, at: now }), row);
  const wasNotRejected = (): void => {
    if (decision instanceof Rejection) throw new Error(`${type} was rejected: ${decision.code}, ${decision.detail}`);
  };
  return {
    then(...events) {
      if (typeof events[0] === 'function')
        throw new TypeError('what follows `when` is no promise: await nothing, and give `then` the events');
      wasNotRejected();
      const expected = (events as readonly Message[]).map((event) => checked(aggregate, event));
      same(`the events of ${type}`, made, expected);
    },
    thenRejected(code) {
      if (decision instanceof Rejection) same(`the rejection of ${type} (${decision.detail})`, decision.code, code);
      else same(`${type} was not rejected`, made, code);
    },
    thenState(state) {
      wasNotRejected();
      same(`the state of ${aggregate.name} after ${type}`, after.state, state);
    },
    when(next, command, options) {
      wasNotRejected();
      return givenRow(aggregate, id, after).when(next, command, options);
    },
  };
}

function decide(aggregate: Aggregate, id: string, row: Row, type: string, payload: unknown, { now = 0, newId }: WhenOptions) {
  const schema = aggregate.commands[type];
  if (schema === undefined) throw new Error(`${aggregate.name} has no command ${type}`);
  const command = received(schema, payload);
  if (row.deletedBy !== undefined) return reject('DELETED', `${aggregate.name} ${id} was deleted`);
  const ids: string[] = [];
  const once = (): readonly Message[] | Rejection => {
    let next = 0;
    const context = {
      aggregateId: id,
      version: row.version,
      now,
      newId: () => (ids[next++] ??= newId === undefined ? `id-${next}` : newId()),
    };
    return untouching(`decide of ${type}`, () => aggregate.decide(type, command, row.state, context));
  };
  const decision = once();
  if (!equal(decision, once())) {
    throw new Error(
      `decide of ${type} decides otherwise when it runs again; it may use nothing but what it is given: time and ids come with the context`,
    );
  }
  return decision;
}

function evolve(aggregate: Aggregate, id: string, row: Row, { at = 0, ...message }: Message): Row {
  const { type, data } = checked(aggregate, message);
  if (row.deletedBy !== undefined) throw new Error(`${type} follows ${row.deletedBy}, which deletes ${aggregate.name}`);
  const version = row.version + 1;
  const once = (): unknown =>
    untouching(`evolve of ${type}`, () => aggregate.evolve(type, row.state, data, { aggregateId: id, version, at }));
  const state = once();
  if (!equal(state, once())) {
    throw new Error(`evolve of ${type} gives another state when it runs again; it may use nothing but what it is given`);
  }
  return { version, state: stateOf(aggregate, state), deletedBy: aggregate.deletes.has(type) ? type : undefined };
}

/** The event as Kafka gives it back. */
function checked(aggregate: Aggregate, { type, data }: Message): Pick<Message, 'type' | 'data'> {
  const schema = aggregate.events[type];
  if (schema === undefined) throw new Error(`${type} is not among the events of ${aggregate.name}`);
  return { type, data: received(schema, data) };
}

const stateOf = (aggregate: Aggregate, state: unknown): unknown => frozenPlain(state, `the state of ${aggregate.name}`);
