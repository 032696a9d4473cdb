import { Account } from '@spool/bank';

/** A record of a history: an event of an aggregate, or a step of a saga. */
export interface Logged {
  readonly source: 'Account' | 'Transfer' | 'Transfers';
  /** Of the aggregate or of the instance. */
  readonly id: string;
  readonly eventId: string;
  readonly version: number;
  readonly type: string;
  readonly data: unknown;
}
export interface BankEvidence {
  readonly log: readonly Logged[];
  /** Ids of all commands in the log, as often as they are there. */
  readonly commands: readonly string[];
}

/** Everything that is wrong with what the bank has left behind; empty when no money was made or lost. */
export function violations({ log, commands }: BankEvidence): readonly string[] {
  return [...twice(log, commands), ...gaps(log), ...money(log), ...transfers(log)];
}

function twice(log: readonly Logged[], commands: readonly string[]): string[] {
  const repeated = (what: string, ids: readonly string[]): string[] => {
    const seen = new Set<string>();
    return ids.filter((id) => seen.size === seen.add(id).size).map((id) => `${what} ${id} is in the log twice`);
  };
  const sent = commands.filter((id) => id.startsWith('Transfers/'));
  return [
    ...repeated('command', sent),
    ...repeated(
      'event',
      log.map(({ eventId }) => eventId),
    ),
  ];
}

function gaps(log: readonly Logged[]): string[] {
  const versions = new Map<string, number>();
  return log.flatMap(({ source, id, version }) => {
    const of = `${source} ${id}`;
    const before = versions.get(of) ?? 0;
    versions.set(of, version);
    return version === before + 1 ? [] : [`${of} goes from version ${before} to ${version}`];
  });
}

function money(log: readonly Logged[]): string[] {
  const accounts = new Map<string, { balance: number; held: number }>();
  let paidIn = 0;
  for (const { source, id, version, type, data } of log) {
    if (source !== 'Account') continue;
    if (type === 'PaidIn') paidIn += (data as { amount: number }).amount;
    const state = accounts.get(id) ?? Account.initial();
    accounts.set(id, Account.evolve(type, state, data, { aggregateId: id, version, at: 0 }) as { balance: number; held: number });
  }
  const balances = [...accounts.values()].reduce((sum, { balance }) => sum + balance, 0);
  return [
    ...(balances === paidIn ? [] : [`the balances make ${balances}, and ${paidIn} was paid in`]),
    ...[...accounts].flatMap(([id, { balance, held }]) =>
      balance < 0 || held !== 0 ? [`account ${id} has ${balance}, and ${held} are held`] : [],
    ),
  ];
}

/** What each way of a transfer leaves in the accounts, and in its own history. */
const ways = [
  'Withdrawn,Deposited,Settled TransferRequested,TransferCompleted',
  'Withdrawn,Refunded TransferRequested,TransferFailed',
  ' TransferRequested,TransferFailed',
];
const order = ['Withdrawn', 'Deposited', 'Settled', 'Refunded'];

function transfers(log: readonly Logged[]): string[] {
  const moved = new Map<string, string[]>();
  const told = new Map<string, string[]>();
  const ended = new Map<string, boolean>();
  for (const { source, id, type, data } of log) {
    if (source === 'Transfers') ended.set(id, (data as { ended: boolean }).ended);
    else if (source === 'Transfer') told.set(id, [...(told.get(id) ?? []), type]);
    else if (order.includes(type)) {
      const { transfer } = data as { transfer: string };
      moved.set(transfer, [...(moved.get(transfer) ?? []), type]);
    }
  }
  return [...new Set([...told.keys(), ...moved.keys(), ...ended.keys()])].flatMap((id) => {
    const way = `${(moved.get(id) ?? []).toSorted((a, b) => order.indexOf(a) - order.indexOf(b)).join()} ${(told.get(id) ?? []).join()}`;
    return [
      ...(ways.includes(way) ? [] : [`transfer ${id} went another way: ${way}`]),
      ...(ended.get(id) === true ? [] : [`the saga of transfer ${id} has ${ended.has(id) ? 'not ended' : 'never begun'}`]),
    ];
  });
}
