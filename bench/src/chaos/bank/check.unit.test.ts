import { violations, type BankEvidence, type Logged } from './check.js';

const versions = new Map<string, number>();
beforeEach(() => versions.clear());
const logged = (source: Logged['source'], id: string, type: string, data: unknown = {}): Logged => {
  const version = (versions.get(source + id) ?? 0) + 1;
  versions.set(source + id, version);
  return { source, id, type, data, version, eventId: `${source}/${id}/${version}` };
};
const moved = { transfer: 't', amount: 30 };
/** What one transfer leaves behind, with a change. */
const evidence = (change: (log: Logged[]) => readonly Logged[] = (log) => log, commands = ['Transfers/t/1/0', 'pay-a']): BankEvidence => ({
  log: change([
    logged('Account', 'a', 'AccountOpened', { owner: 'a' }),
    logged('Account', 'a', 'PaidIn', { amount: 100 }),
    logged('Account', 'b', 'AccountOpened', { owner: 'b' }),
    logged('Transfer', 't', 'TransferRequested'),
    logged('Transfers', 't', 'spool.SagaStep', { ended: false }),
    logged('Account', 'a', 'Withdrawn', moved),
    logged('Account', 'b', 'Deposited', moved),
    logged('Transfers', 't', 'spool.SagaStep', { ended: true }),
    logged('Account', 'a', 'Settled', moved),
    logged('Transfer', 't', 'TransferCompleted'),
  ]),
  commands,
});
const without = (type: string) => (log: Logged[]) => log.filter((each) => each.type !== type);

it('finds nothing wrong with a transfer that went its way', () => {
  expect(violations(evidence())).toEqual([]);
});

it.each<[what: string, found: RegExp, evidence: () => BankEvidence]>([
  [
    'a command that is there twice',
    /^command Transfers\/t\/1\/0 is in the log twice$/,
    () => evidence(undefined, ['Transfers/t/1/0', 'Transfers/t/1/0']),
  ],
  ['an event that is there twice', /^event Account\/a\/1 is in the log twice$/, () => evidence((log) => [log[0]!, ...log])],
  ['a gap', /^Account a goes from version 0 to 2$/, () => evidence(without('AccountOpened'))],
  ['money that was lost', /^the balances make 70, and 100 was paid in$/, () => evidence(without('Deposited'))],
  ['money that stays held', /^account a has 70, and 30 are held$/, () => evidence(without('Settled'))],
  [
    'a saga that did not end',
    /^the saga of transfer t has not ended$/,
    () => evidence((log) => log.filter(({ data }) => (data as { ended?: boolean }).ended !== true)),
  ],
  ['a saga that never began', /^the saga of transfer t has never begun$/, () => evidence(without('spool.SagaStep'))],
  [
    'a deposit that came twice',
    /^transfer t went another way: Withdrawn,Deposited,Deposited,Settled/,
    () => evidence((log) => [...log, logged('Account', 'b', 'Deposited', moved)]),
  ],
])('finds %s', (_, found, of) => {
  expect(violations(of())).toContainEqual(expect.stringMatching(found));
});
