import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, record, type Codec, type SpoolError } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, type Kafka } from '@spool/streams';
import { aggregate, reject } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import type { CommandResult } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { service } from '../service/service.js';

const Till = aggregate('Till', {
  commands: { Pay: record('till.Pay', { amount: 'int' }), Refund: record('till.Refund', { amount: 'int' }) },
  events: { Paid: record('till.Paid', { amount: 'int' }) },
  initial: () => ({}),
  decide: {
    Pay: ({ amount }) => (amount > 0 ? [{ type: 'Paid', data: { amount } }] : reject('NOTHING', 'nothing to pay')),
    Refund: ({ amount }) => [{ type: 'Paid', data: { amount: -amount } }],
  },
  evolve: { Paid: (state) => state },
});
const Mail = service('Mail', {
  commands: { Send: record('mail.Send', { to: 'string' }) },
  handle: { Send: () => undefined },
});

let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let running: RunningBundle;
const start = (): Promise<RunningBundle> =>
  startBundle(bundle({ id: 'shop', version: '1.0.0', components: [Till, Mail] }), {
    ...{ kafka, codec, dataDir, topics: topicCatalogue({ partitions: 1 }), instance: 'shop-0', log: () => undefined },
  });
beforeEach(async () => {
  kafka = createMemoryCluster().connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-reuse-'));
  running = await start();
});
afterEach(async () => {
  await running.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});
const told = (pending: Promise<CommandResult>): Promise<string> =>
  pending.then(
    ({ status }) => status,
    (error: unknown) => (error as SpoolError).code,
  );
const key = { commandId: 'k', refuseReuse: true };
/** Elsewhere, with nothing on the disk. */
async function restart(): Promise<void> {
  await running.close();
  rmSync(dataDir, { recursive: true, force: true });
  running = await start();
}

describe('a key of the caller', () => {
  it('stands for one command to one aggregate, by type and payload, after a restart too', async () => {
    const pay = (amount: number, id = 'a', more: object = key) => told(running.gateway.send(Till, 'Pay', id, { amount }, more));
    expect(await pay(5)).toBe('applied');
    for (const again of [async () => undefined, restart]) {
      await again();
      expect(await pay(5)).toBe('duplicate');
      expect(await pay(6)).toBe('IDEMPOTENCY_KEY_REUSED');
      expect(await pay(5, 'b')).toBe('IDEMPOTENCY_KEY_REUSED');
      expect(await told(running.gateway.send(Till, 'Refund', 'a', { amount: 5 }, key))).toBe('IDEMPOTENCY_KEY_REUSED');
    }
    expect(await pay(5)).toBe('duplicate');
  });

  it('stands for a rejected command as well', async () => {
    const pay = (amount: number) => told(running.gateway.send(Till, 'Pay', 'a', { amount }, key));
    expect(await pay(0)).toBe('REJECTED');
    expect(await pay(0)).toBe('REJECTED');
    expect(await pay(1)).toBe('IDEMPOTENCY_KEY_REUSED');
  });

  it('stands for one command to a service, with a lock or without', async () => {
    for (const lock of [null, 'lock']) {
      const mine = { ...key, commandId: `k-${lock}` };
      const send = (to: string) => told(running.gateway.send(Mail, 'Send', lock, { to }, mine));
      expect(await send('ann')).toBe('applied');
      await restart();
      expect(await send('ann')).toBe('duplicate');
      expect(await send('bob')).toBe('IDEMPOTENCY_KEY_REUSED');
    }
  });

  it('is not asked of ids that are made of a cause, whose payload newer code may make otherwise', async () => {
    const pay = (amount: number, more: object) => told(running.gateway.send(Till, 'Pay', 'a', { amount }, { commandId: 'k', ...more }));
    expect(await pay(5, {})).toBe('applied');
    expect(await pay(6, {})).toBe('duplicate');
    expect(await pay(6, { refuseReuse: true })).toBe('duplicate');
  });
});
