import { createHash } from 'node:crypto';
import { fromJson, SpoolError, toJson } from '@spool/schemas';
import type { ExpectedVersion, Priority } from '../gateway/messages.js';
import type { CommandTarget } from '../messages.js';
import type { EventContext } from '../projector/projector.js';
import type { Saga, SagaContext, SagaOutcome, SagaSendOptions } from './saga.js';

/** What goes on from a message to those that it causes. */
export interface SagaMeta {
  readonly correlationId?: string;
  readonly traceparent?: string;
  readonly actor?: string;
  readonly context?: string;
}

/** What an instance reacts to. `at` in milliseconds since the epoch. */
export type SagaInput =
  | { readonly kind: 'event'; readonly type: string; readonly data: unknown; readonly context: EventContext; readonly meta: SagaMeta }
  | {
      readonly kind: 'outcome';
      readonly at: number;
      readonly meta: SagaMeta;
      readonly outcome: Pick<SagaOutcome, 'commandId' | 'status' | 'code' | 'detail' | 'version'>;
    }
  /** `due`: when it should fire. `at`: when it did. */
  | { readonly kind: 'timer'; readonly name: string; readonly due: number; readonly at: number };

/** A command of a step. */
export interface SentCommand {
  /** `<saga>/<instance>/<version>/<n>` */
  readonly id: string;
  readonly target: CommandTarget;
  readonly type: string;
  /** Of the aggregate; the lock of a service, null for none. */
  readonly key: string | null;
  readonly payload: unknown;
  readonly expectedVersion: ExpectedVersion | undefined;
  readonly priority: Priority | undefined;
  /** The instance wants to hear what became of it. */
  readonly awaited: boolean;
  /** Id of the command that it undoes. */
  readonly compensates: string | undefined;
}

interface Pending {
  readonly type: string;
  readonly target: string;
  readonly key: string;
  readonly compensates?: string;
}
interface Undo {
  /** Id of the command that it is for. */
  readonly of: string;
  readonly target: string;
  readonly type: string;
  readonly id: string | null;
  /** As plain JSON. */
  readonly payload: unknown;
  readonly applied: boolean;
  /** `compensate` has been called: it goes out when its command has been applied. */
  readonly wanted: boolean;
}

/** An instance between two steps; plain data. */
export interface SagaRow {
  /** The number of its last step. */
  readonly version: number;
  /** Null when it has ended. */
  readonly state: unknown;
  readonly ended: boolean;
  /** Commands whose outcome is awaited, by id. */
  readonly pending: Readonly<Record<string, Pending>>;
  readonly undo: readonly Undo[];
  /** Open timers: when they are due. */
  readonly timers: Readonly<Record<string, number>>;
  /** Of the event that started it. */
  readonly meta: SagaMeta;
}

/** A step: everything that it does, and the instance after it. */
export interface SagaStepped {
  readonly row: SagaRow;
  /** After the step; of an ended instance too. */
  readonly state: unknown;
  readonly commands: readonly SentCommand[];
  readonly timers: { readonly set: Readonly<Record<string, number>>; readonly cancelled: readonly string[] };
  /** What it reacted to, as the history has it. */
  readonly step: { readonly kind: SagaInput['kind']; readonly type: string; readonly id: string; readonly at: number };
  /** Of what it sends. */
  readonly meta: SagaMeta;
}

/** Whether the input concerns the instance: anything else is passed over. */
function concerns(saga: Saga, row: SagaRow | undefined, input: SagaInput): boolean {
  switch (input.kind) {
    case 'event':
      return saga.on[input.type] !== undefined && (row === undefined ? saga.on[input.type]!.starts === true : !row.ended);
    case 'outcome':
      return row?.pending[input.outcome.commandId] !== undefined;
    case 'timer':
      return row !== undefined && !row.ended && saga.timers[input.name] !== undefined && row.timers[input.name] !== undefined;
  }
}

/**
 * One step of an instance, as a function of the instance and its input: the host and the testing kit both run it. Undefined: the input does not
 * concern it. @throws SpoolError INVALID_PAYLOAD for an `undo` that does not fit its schema; whatever a reaction throws
 */
export function stepSaga(saga: Saga, id: string, row: SagaRow | undefined, input: SagaInput): SagaStepped | undefined {
  if (!concerns(saga, row, input)) return undefined;
  const version = (row?.version ?? 0) + 1;
  const step = describeInput(row, input);
  const pending = { ...row?.pending };
  let undo = [...(row?.undo ?? [])];
  const timers = { ...row?.timers };
  const before = { ...timers };
  const commands: SentCommand[] = [];
  let ended = row?.ended ?? false;
  let ids = 0;

  const send = (
    { name }: Pick<CommandTarget, 'name'>,
    type: string,
    key: string | null,
    payload: unknown,
    options: SagaSendOptions<{ target: { name: string }; type: string; id: string | null; payload: unknown }> = {},
    compensates?: string,
  ): void => {
    const target = declared(saga, name, type);
    const commandId = `${saga.name}/${id}/${version}/${commands.length}`;
    const { undo: undone, expectedVersion, priority } = options;
    const awaited = undone !== undefined || saga.onOutcome[type] !== undefined;
    commands.push({ id: commandId, target, type, key, payload, expectedVersion, priority, awaited, compensates });
    if (awaited) pending[commandId] = { type, target: name, key: key ?? commandId, ...(compensates === undefined ? {} : { compensates }) };
    if (undone === undefined) return;
    const schema = declared(saga, undone.target.name, undone.type).commands[undone.type]!;
    const { type: undoType, id: undoId } = undone;
    const plain = toJson(schema, undone.payload);
    const rest = { payload: plain, applied: false, wanted: false };
    undo.push({ of: commandId, target: undone.target.name, type: undoType, id: undoId, ...rest });
  };
  const sendUndo = (each: Undo): void => {
    const schema = declared(saga, each.target, each.type).commands[each.type]!;
    send({ name: each.target }, each.type, each.id, fromJson(schema, each.payload), {}, each.of);
  };
  const context: SagaContext = {
    id,
    version,
    at: step.at,
    send: send,
    schedule(timer, due) {
      if (saga.timers[timer] === undefined) throw new SpoolError('INTERNAL', `saga ${saga.name} has no timer ${timer}`);
      timers[timer] = 'at' in due ? due.at : step.at + due.afterMs;
    },
    cancel: (timer) => void Reflect.deleteProperty(timers, timer),
    compensate() {
      const [applied, open] = [undo.filter((each) => each.applied), undo.filter((each) => !each.applied)];
      undo = open.map((each) => ({ ...each, wanted: true }));
      for (const each of applied.toReversed()) sendUndo(each);
    },
    end: () => void (ended = true),
    newId: () => createHash('sha256').update(`${saga.name}/${id}/${version}#${ids++}`).digest('hex').slice(0, 32),
  };

  // 1. What the input means for what is open.
  let state = row === undefined ? saga.initial() : row.state;
  const call = (handler: ((...given: never[]) => unknown) | undefined, ...given: readonly unknown[]): void => {
    const next = handler?.(...([state, ...given] as never[]));
    if (next !== undefined) state = next;
  };
  if (input.kind === 'timer') Reflect.deleteProperty(timers, input.name);
  const answered = input.kind === 'outcome' ? pending[input.outcome.commandId] : undefined;
  if (input.kind === 'outcome') {
    const { commandId, status } = input.outcome;
    Reflect.deleteProperty(pending, commandId);
    const known = undo.find(({ of }) => of === commandId);
    if (known !== undefined) {
      undo = undo.flatMap((each) => (each !== known ? [each] : status === 'applied' && !each.wanted ? [{ ...each, applied: true }] : []));
      if (known.wanted && status === 'applied') sendUndo(known);
    }
  }

  // 2. The reaction.
  if (input.kind === 'event') call(saga.on[input.type]!.react, input.data, context, input.context);
  else if (input.kind === 'timer') call(saga.timers[input.name], context);
  else if (!ended) {
    const { key, type, compensates } = answered!;
    call(saga.onOutcome[type], { ...input.outcome, key, compensation: compensates !== undefined } satisfies SagaOutcome, context);
  }

  // 3. The instance after it. What has ended waits for nothing but what it has still to undo.
  const kept = ended ? undo.filter(({ wanted }) => wanted) : undo;
  const open = ended ? {} : timers;
  const stillPending = ended ? Object.fromEntries(kept.map(({ of }) => [of, pending[of]!])) : pending;
  const meta = input.kind === 'event' ? input.meta : { ...row!.meta, ...(input.kind === 'outcome' ? input.meta : {}) };
  const after = { version, state: ended ? null : state, ended, pending: stillPending, undo: kept, timers: open, meta: row?.meta ?? meta };
  const set = Object.fromEntries(Object.entries(open).filter(([name, at]) => before[name] !== at || fired(input, name)));
  const cancelled = Object.keys(before).filter((name) => open[name] === undefined && !fired(input, name));
  return { row: after, state, commands, timers: { set, cancelled }, step, meta };
}

const fired = (input: SagaInput, timer: string): boolean => input.kind === 'timer' && input.name === timer;

function describeInput(row: SagaRow | undefined, input: SagaInput): SagaStepped['step'] {
  switch (input.kind) {
    case 'event':
      return { kind: 'event', type: input.type, id: input.context.eventId, at: input.context.at };
    case 'outcome': {
      const { commandId } = input.outcome;
      return { kind: 'outcome', type: row!.pending[commandId]!.type, id: commandId, at: input.at };
    }
    case 'timer':
      return { kind: 'timer', type: input.name, id: `${input.name}@${new Date(input.due).toISOString()}`, at: input.at };
  }
}

function declared(saga: Saga, name: string, type: string): CommandTarget {
  const target = saga.sends.find((each) => each.name === name && each.commands[type] !== undefined);
  if (target === undefined) throw new SpoolError('INTERNAL', `saga ${saga.name} does not declare that it sends ${type} to ${name}`);
  return target;
}
