import { readMeta, SagaStepSchema, type Codec, type SagaStep } from '@spool/schemas';
import { sagaStateHeader } from '@spool/sdk';
import type { ConsumedRecord, Store, Table } from '@spool/streams';

/** `running`: it reacts to what comes. `ended`: its last step was taken. */
export const sagaStates = ['running', 'ended'] as const;
export type SagaState = (typeof sagaStates)[number];

export interface SagaInstance {
  readonly id: string;
  readonly state: SagaState;
  /** The number of its last step. */
  readonly version: number;
  /** What it last reacted to: when that was made, in milliseconds since the epoch. */
  readonly at: number;
}

type InstanceRow = Omit<SagaInstance, 'id'>;
const instancesTable = 'instances';
/** One table in the order of ids, and one for each state, so that a page of what runs does not read what has ended. */
const tableOf = (state: SagaState | undefined): string => (state === undefined ? instancesTable : `${instancesTable}.${state}`);

/** Takes a step into the lists of instances. */
export function listInstance(record: ConsumedRecord, table: <V>(name: string) => Table<V>): void {
  const { aggregateVersion: version = 0, time: at = record.timestamp } = readMeta(record.headers);
  const id = record.key!.toString();
  const before = table<InstanceRow>(instancesTable).get(id);
  if (before !== undefined && before.version >= version) return;
  const state: SagaState = record.headers[sagaStateHeader]?.toString() === 'ended' ? 'ended' : 'running';
  const row: InstanceRow = { state, version, at };
  if (before !== undefined && before.state !== state) table(tableOf(before.state)).delete(id);
  table<InstanceRow>(instancesTable).put(id, row);
  table<InstanceRow>(tableOf(state)).put(id, row);
}

export interface InstanceQuery {
  /** @default both */
  readonly state?: SagaState | undefined;
  /** The id to begin with. @default the first */
  readonly from?: string | undefined;
  readonly limit: number;
}

/** In the order of their ids. */
export function instancesIn(store: Store, { state, from, limit }: InstanceQuery): readonly SagaInstance[] {
  const range = store.range(tableOf(state), { limit, ...(from === undefined ? {} : { from }) });
  return [...range].map(([id, row]) => ({ id, ...(row as InstanceRow) }));
}

/** A step with the payloads of its messages as plain JSON. */
export interface ReadStep {
  readonly version: number;
  readonly input: Omit<SagaStep['input'], 'payload'> & { readonly payload: unknown };
  readonly state: unknown;
  readonly ended: boolean;
  readonly commands: readonly (Omit<SagaStep['commands'][number], 'payload'> & { readonly payload: unknown })[];
  readonly timersSet: SagaStep['timersSet'];
  readonly timersCancelled: SagaStep['timersCancelled'];
  /** Open after it. */
  readonly timers: SagaStep['timers'];
  /** Commands whose outcome is awaited after it. */
  readonly pending: SagaStep['pending'];
}

export async function readStep(codec: Codec, value: Buffer): Promise<ReadStep> {
  const json = async (payload: Uint8Array): Promise<unknown> =>
    payload.length === 0 ? null : (await codec.decodeAny(Buffer.from(payload))).json();
  const { version, input, state, ended, commands, timersSet, timersCancelled, timers, pending } = await codec
    .decoder(SagaStepSchema)
    .decode(value);
  return {
    version,
    input: { ...input, payload: await json(input.payload) },
    state: state === null ? null : (JSON.parse(state) as unknown),
    ended,
    commands: await Promise.all(commands.map(async (command) => ({ ...command, payload: await json(command.payload) }))),
    timersSet,
    timersCancelled,
    timers,
    pending,
  };
}
