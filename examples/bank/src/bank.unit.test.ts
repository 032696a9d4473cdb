import { readFileSync } from 'node:fs';
import { startInMemory, type BundleInMemory } from '@spool/sdk/testing';
import { Account, bank, Statements, Transfer } from './bank.js';

let running: BundleInMemory;
beforeEach(async () => {
  running = await startInMemory(bank);
});
afterEach(async () => {
  await running.close();
});

const open = async (account: string, amount = 0): Promise<void> => {
  await running.gateway.send(Account, 'OpenAccount', account, { owner: account });
  if (amount > 0) await running.gateway.send(Account, 'PayIn', account, { amount });
};
const transfer = async (id: string, from: string, to: string, amount: number): Promise<void> => {
  await running.gateway.send(Transfer, 'RequestTransfer', id, { from, to, amount });
};
const types = async (id: string): Promise<string[]> =>
  (await running.events()).filter(({ aggregateId }) => aggregateId === id).map(({ type }) => type);
const finished = async (id: string): Promise<string | undefined> => {
  await running.until(async () => (await types(id)).length === 2);
  return (await types(id)).at(-1);
};
const balance = async (account: string): Promise<number> =>
  (await running.gateway.ask(Statements, 'BalanceOf', { account }, { timeoutMs: 5000 })).view.balance;

it('brings money from one account to another', async () => {
  await open('ada', 100);
  await open('bob');
  await transfer('t1', 'ada', 'bob', 30);
  expect(await finished('t1')).toBe('TransferCompleted');
  await running.until(async () => (await balance('ada')) === 70 && (await balance('bob')) === 30);
  await running.until(async () => (await types('ada')).at(-1) === 'Settled');
  expect(await types('ada')).toEqual(['AccountOpened', 'PaidIn', 'Withdrawn', 'Settled']);
});

it('gives back what a closed account does not take', async () => {
  await open('ada', 100);
  await open('bob');
  await running.gateway.send(Account, 'CloseAccount', 'bob', {});
  await transfer('t1', 'ada', 'bob', 30);
  expect(await finished('t1')).toBe('TransferFailed');
  await running.until(async () => (await types('ada')).at(-1) === 'Refunded');
  await running.until(async () => (await balance('ada')) === 100);
});

it('moves nothing where there is too little', async () => {
  await open('ada', 10);
  await open('bob');
  await transfer('t1', 'ada', 'bob', 30);
  expect(await finished('t1')).toBe('TransferFailed');
  expect(await types('ada')).toEqual(['AccountOpened', 'PaidIn']);
});

it('does not close an account while money is held for a transfer or left in it', async () => {
  await open('ada', 10);
  await expect(running.gateway.send(Account, 'CloseAccount', 'ada', {})).rejects.toMatchObject({ facts: { reason: 'NOT_EMPTY' } });
  await running.gateway.send(Account, 'Withdraw', 'ada', { transfer: 't', amount: 10 });
  await expect(running.gateway.send(Account, 'CloseAccount', 'ada', {})).rejects.toMatchObject({ facts: { reason: 'NOT_EMPTY' } });
});

it('is written in under 150 lines', () => {
  const source = readFileSync(new URL('../src/bank.ts', import.meta.url), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThan(150);
});
