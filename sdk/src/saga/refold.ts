import { isDeepStrictEqual } from 'node:util';
import { ReplySchema, toJson, type Codec, type Reply, type SagaStep } from '@spool/schemas';
import type { Saga } from './saga.js';
import { stepSaga, type SagaInput, type SagaRow } from './step.js';

/** What a reply means for the instance that sent the command. */
export function outcomeOf({ outcome, problem, version }: Reply) {
  const known = { applied: 'applied', duplicate: 'applied', rejected: 'rejected', conflict: 'conflict' } as const;
  const status = outcome in known ? known[outcome as keyof typeof known] : ('failed' as const);
  return { status, code: problem?.code ?? '', detail: problem?.detail ?? '', version };
}

/**
 * Takes the steps of an instance again, from its history alone, as its saga is now.
 * @param steps all of one instance, in order
 * @returns where the history differs from it; empty when every step gives the same state, commands and timers
 */
export async function refoldSaga(saga: Saga, steps: readonly SagaStep[], codec: Codec): Promise<readonly string[]> {
  let row: SagaRow | undefined;
  for (const step of steps) {
    const where = `${saga.name} ${step.instanceId} version ${step.version}`;
    const input = await inputOf(saga, step, codec);
    const again = input === undefined ? undefined : stepSaga(saga, step.instanceId, row, input);
    if (again === undefined) return [`${where}: ${step.input.kind} ${step.input.type} is not taken`];
    if (again.row.version !== step.version) return [`${where} should be ${again.row.version}`];
    const commands = again.commands.map(({ id, type, target, payload }) => ({
      id,
      type,
      target: target.name,
      payload: toJson(target.commands[type]!, payload),
    }));
    const logged = await Promise.all(
      step.commands.map(async ({ id, type, target, payload }) => ({
        id,
        type,
        target,
        payload: (await codec.decodeAny(Buffer.from(payload))).json(),
      })),
    );
    const named = (timers: SagaStep['timers']) => Object.fromEntries(timers.map(({ name, at }) => [name, at]));
    const parts: readonly (readonly [what: string, now: unknown, then: unknown])[] = [
      ['state', plain(again.state), step.state === null ? null : JSON.parse(step.state)],
      ['end', again.row.ended, step.ended],
      ['commands', commands, logged],
      ['timers', again.row.timers, named(step.timers)],
      ['pending', Object.keys(again.row.pending).sort(), step.pending.map(({ id }) => id).sort()],
    ];
    const differs = parts.filter(([, now, then]) => !isDeepStrictEqual(now, then));
    if (differs.length > 0) return differs.map(([what, now, then]) => `${where}: ${what} ${text(then)}, and again ${text(now)}`);
    row = again.row;
  }
  return [];
}

const plain = (state: unknown): unknown => (state === null ? null : JSON.parse(JSON.stringify(state)));
const text = (value: unknown): string => JSON.stringify(value).slice(0, 200);

async function inputOf(saga: Saga, { input }: SagaStep, codec: Codec): Promise<SagaInput | undefined> {
  const { type, id, at, key, aggregateVersion } = input;
  if (input.kind === 'timer') return { kind: 'timer', name: type, due: Date.parse(id.slice(id.lastIndexOf('@') + 1)), at };
  const payload = Buffer.from(input.payload);
  if (input.kind === 'outcome') {
    const outcome = { commandId: id, ...outcomeOf(await codec.decoder(ReplySchema).decode(payload)) };
    return { kind: 'outcome', at, meta: {}, outcome };
  }
  // The topic is `evt.<source>`, and a name has no dot.
  const source = input.topic.slice(input.topic.lastIndexOf('.') + 1);
  const schema = saga.of.find(({ name }) => name === source)?.events[type];
  if (schema === undefined) return undefined;
  const context = { source, eventId: id, aggregateId: key, version: aggregateVersion, at, replayId: undefined, correlationId: undefined };
  return { kind: 'event', type, data: await codec.decoder(schema).decode(payload), context, meta: {} };
}
