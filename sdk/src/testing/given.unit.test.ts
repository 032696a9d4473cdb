import { record } from '@spool/schemas';
import { aggregate, reject } from '../aggregate/aggregate.js';
import { given } from './given.js';

const commands = {
  Open: record('kit.Open', { owner: 'string' }),
  Deposit: record('kit.Deposit', { amount: 'int' }),
  Close: record('kit.Close', {}),
};
const events = {
  Opened: record('kit.Opened', { owner: 'string', number: 'string', at: 'timestamp' }),
  Deposited: record('kit.Deposited', { amount: 'int' }),
  Closed: record('kit.Closed', {}),
};
const decide = {
  Open: {
    requires: 'new' as const,
    decide: ({ owner }: { owner: string }, _: unknown, { newId, now }: { newId: () => string; now: number }) => [
      { type: 'Opened' as const, data: { owner, number: newId(), at: now } },
    ],
  },
  Deposit: {
    requires: 'existing' as const,
    decide: ({ amount }: { amount: number }) =>
      amount < 1 ? reject('NOTHING', `an amount is positive, not ${amount}`) : [{ type: 'Deposited' as const, data: { amount } }],
  },
  Close: () => [{ type: 'Closed' as const, data: {} }],
};
interface State {
  readonly balance: number;
  readonly deposits: readonly number[];
}
const evolve = {
  Opened: (state: State): State => state,
  Deposited: ({ balance, deposits }: State, { amount }: { amount: number }): State => ({
    balance: balance + amount,
    deposits: [...deposits, amount],
  }),
  Closed: (state: State): State => state,
};
const initial = (): State => ({ balance: 0, deposits: [] });
const parts = { commands, events, initial, decide, evolve, deletes: ['Closed'] as const };
const Account = aggregate('Account', parts);

const opened = { type: 'Opened', data: { owner: 'Ada', number: 'id-1', at: 7 } } as const;
const deposited = (amount: number) => ({ type: 'Deposited', data: { amount } }) as const;
const closed = { type: 'Closed', data: {} } as const;

const invalid = expect.objectContaining({ code: 'INVALID_PAYLOAD' }) as Error;

describe('given events, when a command', () => {
  it('then the events are those that it decides, with the time and the ids that it is given', () => {
    given(Account).when('Open', { owner: 'Ada' }, { now: 7 }).then(opened);
    given(Account)
      .when('Open', { owner: 'Ada' }, { now: 7, newId: () => 'n' })
      .then({ type: 'Opened', data: { owner: 'Ada', number: 'n', at: 7 } });
    given(Account).events(opened).when('Deposit', { amount: 5 }).then(deposited(5));
  });

  it('then the state is that of all events, and the next command meets it', () => {
    given(Account)
      .events(opened, deposited(5))
      .thenState({ balance: 5, deposits: [5] });
    given(Account)
      .events(opened, deposited(5))
      .when('Deposit', { amount: 2 })
      .thenState({ balance: 7, deposits: [5, 2] });
    given(Account)
      .when('Open', { owner: 'Ada' })
      .when('Deposit', { amount: 2 })
      .thenState({ balance: 2, deposits: [2] });
  });

  it('then a rejection has its code, whether by the domain, for want of the aggregate, or since it was deleted', () => {
    given(Account).events(opened).when('Deposit', { amount: 0 }).thenRejected('NOTHING');
    given(Account).when('Deposit', { amount: 1 }).thenRejected('DOES_NOT_EXIST');
    given(Account).events(opened).when('Open', { owner: 'Bob' }).thenRejected('ALREADY_EXISTS');
    given(Account).events(opened, closed).when('Deposit', { amount: 1 }).thenRejected('DELETED');
  });

  it('shows the difference when the events, the state or the rejection are others', () => {
    const when = given(Account).events(opened).when('Deposit', { amount: 5 });
    expect(() => when.then(deposited(6))).toThrow(/the events of Deposit[^]*amount: 5[^]*amount: 6/);
    expect(() => when.then()).toThrow(/the events of Deposit/);
    expect(() => when.thenState({ balance: 6, deposits: [5] })).toThrow(/the state of Account after Deposit[^]*balance: 5/);
    expect(() => when.thenRejected('NOTHING')).toThrow(/Deposit was not rejected/);
    const rejected = given(Account).events(opened).when('Deposit', { amount: 0 });
    expect(() => rejected.then(deposited(0))).toThrow('Deposit was rejected: NOTHING, an amount is positive, not 0');
    expect(() => rejected.thenRejected('OTHER')).toThrow(/the rejection of Deposit[^]*NOTHING/);
    expect(() => rejected.when('Close', {})).toThrow('Deposit was rejected');
  });

  it('refuses payloads that Kafka would refuse', () => {
    expect(() => given(Account).events(deposited(1.5))).toThrow(invalid);
    expect(() => given(Account).when('Open', { owner: 5 as never })).toThrow(invalid);
    const wrong = aggregate('Account', { ...parts, decide: { ...decide, Close: () => [deposited(2 ** 40)] } });
    expect(() => given(wrong).when('Close', {})).toThrow(invalid);
    const unknown = aggregate('Account', { ...parts, decide: { ...decide, Close: () => [{ type: 'Slammed' as 'Closed', data: {} }] } });
    expect(() => given(unknown).when('Close', {})).toThrow('Slammed is not among the events of Account');
    expect(() => given(Account).events(opened, closed, opened)).toThrow('Opened follows Closed, which deletes Account');
  });

  it('finds out what changes what it is given', () => {
    const push = aggregate('Account', {
      ...parts,
      evolve: {
        ...evolve,
        Deposited: (state: State, { amount }: { amount: number }) => {
          (state.deposits as number[]).push(amount);
          return state;
        },
      },
    });
    expect(() => given(push).events(deposited(1))).toThrow(/evolve of Deposited changes what it is given/);
    const assign = aggregate('Account', {
      ...parts,
      decide: {
        ...decide,
        Close: (_: object, state: State) => {
          (state as { balance: number }).balance = 0;
          return [closed];
        },
      },
    });
    expect(() => given(assign).when('Close', {})).toThrow(/decide of Close changes what it is given/);
  });

  it('finds out what depends on more than it is given', () => {
    let calls = 0;
    const counted = aggregate('Account', { ...parts, decide: { ...decide, Close: () => [deposited(++calls)] } });
    expect(() => given(counted).when('Close', {})).toThrow(/decide of Close decides otherwise/);
    const random = aggregate('Account', { ...parts, evolve: { ...evolve, Closed: (state: State) => ({ ...state, balance: ++calls }) } });
    expect(() => given(random).events(closed)).toThrow(/evolve of Closed gives another state/);
  });

  it('finds out a state that a snapshot would not bring back (Evento defect 6)', () => {
    const dated = aggregate('Account', { ...parts, evolve: { ...evolve, Closed: () => ({ ...initial(), since: new Date(0) }) } });
    expect(() => given(dated).events(closed)).toThrow(
      'the state of Account is plain data (text, numbers, booleans, null, lists, objects): /since is a Date',
    );
    const endless = aggregate('Account', { ...parts, evolve: { ...evolve, Closed: () => ({ balance: NaN, deposits: [] }) } });
    expect(() => given(endless).events(closed)).toThrow('/balance is NaN');
  });

  it('is no promise: awaiting it says so', async () => {
    const when = given(Account).when('Open', { owner: 'Ada' }, { now: 7 });
    await expect((async () => await (when as unknown as Promise<void>))()).rejects.toThrow('what follows `when` is no promise');
  });
});
