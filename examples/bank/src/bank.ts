import { aggregate, bundle, only, projection, projector, record, reject, saga, table, type Table } from '@spool/sdk';

/** Money is counted in cents. What is withdrawn for a transfer is held until it has arrived, so that it can be given back. */
export const Account = aggregate('Account', {
  description: 'A bank account',
  commands: {
    OpenAccount: record('bank.OpenAccount', { owner: 'string' }),
    PayIn: record('bank.PayIn', { amount: 'int' }),
    Withdraw: record('bank.Withdraw', { transfer: 'string', amount: 'int' }),
    Deposit: record('bank.Deposit', { transfer: 'string', amount: 'int' }),
    Settle: record('bank.Settle', { transfer: 'string', amount: 'int' }),
    Refund: record('bank.Refund', { transfer: 'string', amount: 'int' }),
    CloseAccount: record('bank.CloseAccount', {}),
  },
  events: {
    AccountOpened: record('bank.AccountOpened', { owner: 'string' }),
    PaidIn: record('bank.PaidIn', { amount: 'int' }),
    Withdrawn: record('bank.Withdrawn', { transfer: 'string', amount: 'int' }),
    Deposited: record('bank.Deposited', { transfer: 'string', amount: 'int' }),
    Settled: record('bank.Settled', { transfer: 'string', amount: 'int' }),
    Refunded: record('bank.Refunded', { transfer: 'string', amount: 'int' }),
    AccountClosed: record('bank.AccountClosed', {}),
  },
  initial: () => ({ balance: 0, held: 0 }),
  decide: {
    OpenAccount: { requires: 'new', decide: ({ owner }) => [{ type: 'AccountOpened', data: { owner } }] },
    PayIn: {
      requires: 'existing',
      decide: (paid) => (paid.amount > 0 ? [{ type: 'PaidIn', data: paid }] : reject('NOT_POSITIVE', `${paid.amount} is not a payment`)),
    },
    Withdraw: (asked, { balance }) =>
      asked.amount <= balance ? [{ type: 'Withdrawn', data: asked }] : reject('TOO_LITTLE', `there is no more than ${balance}`),
    Deposit: { requires: 'existing', decide: (deposit) => [{ type: 'Deposited', data: deposit }] },
    Settle: (asked, { held }) => (asked.amount <= held ? [{ type: 'Settled', data: asked }] : reject('NOT_HELD', asked.transfer)),
    Refund: (asked, { held }) => (asked.amount <= held ? [{ type: 'Refunded', data: asked }] : reject('NOT_HELD', asked.transfer)),
    CloseAccount: {
      requires: 'existing',
      decide: (_, { balance, held }) =>
        balance + held === 0 ? [{ type: 'AccountClosed', data: {} }] : reject('NOT_EMPTY', 'there is money left'),
    },
  },
  evolve: {
    AccountOpened: (state) => state,
    PaidIn: ({ balance, held }, { amount }) => ({ balance: balance + amount, held }),
    Withdrawn: ({ balance, held }, { amount }) => ({ balance: balance - amount, held: held + amount }),
    Deposited: ({ balance, held }, { amount }) => ({ balance: balance + amount, held }),
    Settled: ({ balance, held }, { amount }) => ({ balance, held: held - amount }),
    Refunded: ({ balance, held }, { amount }) => ({ balance: balance + amount, held: held - amount }),
    AccountClosed: (state) => state,
  },
  deletes: ['AccountClosed'],
});

export const Transfer = aggregate('Transfer', {
  description: 'Money on its way from one account to another',
  commands: {
    RequestTransfer: record('bank.RequestTransfer', { from: 'string', to: 'string', amount: 'int' }),
    CompleteTransfer: record('bank.CompleteTransfer', {}),
    FailTransfer: record('bank.FailTransfer', { reason: 'string' }),
  },
  events: {
    TransferRequested: record('bank.TransferRequested', { from: 'string', to: 'string', amount: 'int' }),
    TransferCompleted: record('bank.TransferCompleted', {}),
    TransferFailed: record('bank.TransferFailed', { reason: 'string' }),
  },
  initial: () => ({ status: 'requested', reason: '' }),
  decide: {
    RequestTransfer: {
      requires: 'new',
      decide: (request) =>
        request.amount > 0 && request.from !== request.to
          ? [{ type: 'TransferRequested', data: request }]
          : reject('NO_TRANSFER', 'it takes two accounts and a positive amount'),
    },
    CompleteTransfer: { requires: 'existing', decide: () => [{ type: 'TransferCompleted' as const, data: {} }] },
    FailTransfer: { requires: 'existing', decide: ({ reason }) => [{ type: 'TransferFailed', data: { reason } }] },
  },
  evolve: {
    TransferRequested: (state) => state,
    TransferCompleted: (state) => ({ ...state, status: 'completed' }),
    TransferFailed: (state, { reason }) => ({ ...state, status: 'failed', reason }),
  },
});

export const Transfers = saga('Transfers', {
  description: 'Takes money from one account and brings it to another; what cannot be delivered is given back',
  of: [Transfer],
  sends: [only(Account, 'Withdraw', 'Deposit', 'Settle', 'Refund'), only(Transfer, 'CompleteTransfer', 'FailTransfer')],
  initial: () => ({ from: '', to: '', amount: 0 }),
  on: {
    TransferRequested: {
      starts: true,
      by: (_, { aggregateId }) => aggregateId,
      react(_, { from, to, amount }, { id: transfer, send }) {
        const undo = { target: Account, type: 'Refund', id: from, payload: { transfer, amount } } as const;
        send(Account, 'Withdraw', from, { transfer, amount }, { undo });
        return { from, to, amount };
      },
    },
  },
  onOutcome: {
    Withdraw({ to, amount }, { status, detail }, { id: transfer, send, end }) {
      if (status === 'applied') send(Account, 'Deposit', to, { transfer, amount });
      else {
        send(Transfer, 'FailTransfer', transfer, { reason: detail });
        end();
      }
    },
    Deposit({ from, amount }, { status, detail }, { id: transfer, send, compensate, end }) {
      if (status === 'applied') {
        send(Account, 'Settle', from, { transfer, amount });
        send(Transfer, 'CompleteTransfer', transfer, {});
      } else {
        compensate();
        send(Transfer, 'FailTransfer', transfer, { reason: detail });
      }
      end();
    },
  },
});

const add = (balances: Table<number>, account: string, amount: number): void =>
  balances.put(account, (balances.get(account) ?? 0) + amount);

export const Balances = projector('Balances', {
  of: Account,
  tables: { balances: table<number>() },
  on: {
    PaidIn: ({ amount }, { balances }, { aggregateId }) => add(balances, aggregateId, amount),
    Withdrawn: ({ amount }, { balances }, { aggregateId }) => add(balances, aggregateId, -amount),
    Deposited: ({ amount }, { balances }, { aggregateId }) => add(balances, aggregateId, amount),
    Refunded: ({ amount }, { balances }, { aggregateId }) => add(balances, aggregateId, amount),
  },
});

export const Statements = projection('Statements', {
  reads: Balances,
  queries: {
    BalanceOf: { request: record('bank.BalanceOf', { account: 'string' }), view: record('bank.BalanceOfView', { balance: 'int' }) },
  },
  answer: { BalanceOf: ({ account }, { balances }) => ({ balance: balances.get(account) ?? 0 }) },
});

export const bank = bundle({
  id: 'bank',
  version: '1.0.0',
  description: 'Accounts, and transfers between them: the sum of money never changes',
  components: [Account, Transfer, Transfers, Balances, Statements],
});
