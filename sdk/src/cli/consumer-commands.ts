import { SpoolError } from '@spool/schemas';
import type { PlatformApi } from './platform-api.js';
import { json, plain, table, type Screen } from './printing.js';
import { limitOf, numberOf, placeOf } from './replay-commands.js';

interface Consumer {
  readonly id: string;
  readonly state: string;
  readonly error: string | null;
  readonly recordsPerSecond: number | null;
  readonly lag: { readonly records: number; readonly seconds: number };
  readonly partitions: readonly { topic: string; partition: number; instance: string; position: string; end: string; lag: number }[];
  readonly instances: readonly { instance: string; bundle: string; version: string; state: string; error: string | null }[];
}
interface DeadLetter {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly key: string | null;
  readonly code: string;
  readonly reason: string;
}
interface Ordered {
  readonly acknowledged: boolean;
  readonly records: number;
  readonly failed: string | null;
  readonly consumer: Consumer;
}
const lettersMost = 1_000;

export async function showConsumers(api: PlatformApi, screen: Screen): Promise<void> {
  const { items } = await api.get<{ items: readonly Consumer[] }>('/consumers');
  const rows = items.map((each) => [
    ...[each.id, each.state, each.lag.records, Math.round(each.lag.seconds), each.instances.length, each.error ?? ''],
  ]);
  screen.out(screen.json ? json(items) : table(['consumer', 'state', 'lag', 'seconds', 'instances', 'error'], rows));
}

export async function showConsumer(api: PlatformApi, screen: Screen, id: string): Promise<void> {
  showOne(screen, await api.get<Consumer>(`/consumers/${encodeURIComponent(id)}`));
}

function showOne(screen: Screen, consumer: Consumer): void {
  if (screen.json) return screen.out(json(consumer));
  const limit = consumer.recordsPerSecond === null ? '' : `, at most ${consumer.recordsPerSecond} per second`;
  screen.out(`${consumer.id}: ${consumer.state}, ${consumer.lag.records.toLocaleString('en')} records behind${limit}\n`);
  if (consumer.error !== null) screen.out(`error: ${plain(consumer.error)}\n`);
  screen.out(
    `\n${table(
      ['partition', 'instance', 'position', 'end', 'lag'],
      consumer.partitions.map((at) => [`${at.topic}-${at.partition}`, at.instance, Number(at.position), Number(at.end), at.lag]),
    )}`,
  );
}

/** The orders that a consumer takes as `spool consumers <id> <order>`. */
const consumerOrders = ['pause', 'resume', 'step', 'rate', 'seek', 'reset', 'retry', 'discard'] as const;

/** @returns whether it has come right */
export async function orderConsumer(
  api: PlatformApi,
  screen: Screen,
  id: string,
  order: string,
  value: string | undefined,
  reason: string | undefined,
): Promise<boolean> {
  const path = `/consumers/${encodeURIComponent(id)}`;
  if (order === 'dead-letters') {
    const letters = await api.pages<DeadLetter>(`${path}/dead-letters`, {}, lettersMost + 1);
    const shown = letters.slice(0, lettersMost);
    screen.out(screen.json ? json(shown) : letterTable(shown));
    if (shown.length < letters.length) screen.err(`there are more: these are the first ${lettersMost}\n`);
    return true;
  }
  const known = consumerOrders.find((each) => each === order);
  if (known === undefined)
    throw new SpoolError('INVALID_REQUEST', `${order}: expected dead-letters or one of ${consumerOrders.join(', ')}`);
  if (reason === undefined) throw new SpoolError('INVALID_REQUEST', `${order}: say why with --reason; it is kept in the audit log`);
  const place = known === 'retry' || known === 'discard' ? `dead-letters/${known}` : known;
  const { acknowledged, records, failed, consumer } = await api.post<Ordered>(`${path}/${place}`, { ...bodyOf(known, value), reason });
  showOne(screen, consumer);
  if (!acknowledged) screen.err('not every instance has said so yet; the order stands\n');
  if (place !== known) screen.err(`${records} records ${known === 'retry' ? 'handled' : 'given up'}\n`);
  if (failed !== null) screen.err(`one failed again: ${plain(failed)}\n`);
  return failed === null;
}

function bodyOf(order: (typeof consumerOrders)[number], value: string | undefined): object {
  switch (order) {
    case 'step':
      return { records: numberOf('step', value ?? '1') };
    case 'rate':
      return { recordsPerSecond: limitOf('rate', value) };
    case 'seek':
      return { to: placeOf('seek', value ?? '') };
    case 'retry':
    case 'discard':
      return value === undefined ? {} : { key: value };
    default:
      return {};
  }
}

const letterTable = (letters: readonly DeadLetter[]): string =>
  table(
    ['record', 'key', 'code', 'reason'],
    letters.map((each) => [`${each.topic}-${each.partition}@${each.offset}`, each.key ?? '', each.code, each.reason]),
  );
