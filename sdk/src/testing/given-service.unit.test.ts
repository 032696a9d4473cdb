import { record, SpoolError } from '@spool/schemas';
import { reject } from '../aggregate/aggregate.js';
import { service } from '../service/service.js';
import { givenService } from './given-service.js';

interface Bank {
  charge(amount: number, key: string): Promise<string>;
}
const payments = (bank: Bank) =>
  service('Payments', {
    commands: { Charge: record('kit.Charge', { amount: 'int' }), Ping: record('kit.Ping', {}) },
    events: { Charged: record('kit.Charged', { receipt: 'string' }) },
    handle: {
      async Charge({ amount }, { idempotencyKey }) {
        if (amount <= 0) return reject('NOTHING', `${amount} is nothing`);
        return { type: 'Charged', data: { receipt: await bank.charge(amount, idempotencyKey) } };
      },
      Ping: () => undefined,
    },
  });
const charged: string[] = [];
const Payments = payments({
  charge: async (amount, key) => {
    if (amount > 100) throw new SpoolError('UNAVAILABLE', 'the bank is closed');
    charged.push(`${amount} ${key}`);
    return Promise.resolve(`receipt of ${amount}`);
  },
});

describe('given a service with an outside of the test', () => {
  it('when a command, then its event, nothing or a rejection', async () => {
    await givenService(Payments)
      .when('Charge', { amount: 5 }, { idempotencyKey: 'k' })
      .thenEvent({ type: 'Charged', data: { receipt: 'receipt of 5' } });
    expect(charged).toEqual(['5 k']);
    await givenService(Payments).when('Ping', {}).thenNothing();
    await givenService(Payments).when('Charge', { amount: 0 }).thenRejected('NOTHING');
  });

  it('shows what is otherwise, and gives what the handler throws', async () => {
    const when = givenService(Payments).when('Charge', { amount: 5 });
    await expect(when.thenEvent({ type: 'Charged', data: { receipt: 'none' } })).rejects.toThrow(
      /the event of Charge[^]*receipt of 5[^]*none/,
    );
    await expect(when.thenNothing()).rejects.toThrow(/what came of Charge/);
    await expect(when.thenRejected('NOTHING')).rejects.toThrow(/Charge was not rejected/);
    await expect(givenService(Payments).when('Charge', { amount: 101 }).thenNothing()).rejects.toThrow('the bank is closed');
    const wrong = givenService(Payments).when('Charge', { amount: 1.5 });
    await expect(wrong.thenNothing()).rejects.toMatchObject({ code: 'INVALID_PAYLOAD' });
  });
});
