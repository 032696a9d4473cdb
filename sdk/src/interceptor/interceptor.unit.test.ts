import { record, SpoolError } from '@spool/schemas';
import { bundle } from '../bundle/bundle.js';
import { cron } from '../invoker/cron.js';
import { invoker } from '../invoker/invoker.js';
import { only } from '../messages.js';
import { saga } from '../saga/saga.js';
import { service } from '../service/service.js';
import { Counter, counting, Sums } from '../testing/counter.js';
import { startInMemory } from '../testing/start-in-memory.js';
import type { Intercepted, Interceptor } from './interceptor.js';

const Mailer = service('Mailer', { commands: { Mail: record('kit.Mail', { to: 'string' }) }, handle: { Mail: () => undefined } });
const Tell = saga('Tell', {
  of: [Counter],
  sends: [Mailer],
  startAt: 'earliest',
  initial: () => 0,
  on: {
    Added: {
      starts: true,
      by: (_, { aggregateId }) => aggregateId,
      react: (_, __, step) => step.send(Mailer, 'Mail', null, { to: step.id }),
    },
  },
});
const Once = invoker('Once', {
  sends: [only(Counter, 'Add')],
  async run({ commands }) {
    await commands.send(Counter, 'Add', 'a', { n: 1 });
  },
});
const EveryMinute = cron('EveryMinute', { schedule: '* * * * *', run: () => Promise.resolve() });
const components = [...counting.components, Mailer, Tell, Once, EveryMinute];
const whole = (...interceptors: readonly Interceptor[]) => bundle({ id: 'counting', version: '1.0.0', components, interceptors });
const named = ({ kind, component, messageKind, type }: Intercepted): string => `${kind} ${component} ${messageKind} ${type}`;

it('an interceptor goes around the handlers of every kind', async () => {
  const before = new Set<string>();
  const after = new Set<string>();
  const seen: Interceptor = {
    before: (message) => void before.add(named(message)),
    after: (message) => void after.add(named(message)),
  };
  await using running = await startInMemory(whole(seen), { now: Date.UTC(2001, 0, 1, 12, 0, 30) });
  await running.gateway.ask(Sums, 'Total', {}).catch(() => undefined);
  const ticked = (): boolean =>
    running.running.instance
      .status()
      .some(({ consumer, partitions }) => consumer.startsWith('counting.EveryMinute') && partitions.some(({ position }) => position > 0n));
  // A command under way would expire as the clock is moved on.
  await running.until(() => ticked() && after.has('service Mailer command Mail'));
  running.advance(60_000);
  await running.until(() => after.size >= 7);
  const all = [
    'aggregate Counter command Add',
    'invoker EveryMinute timer EveryMinute',
    'invoker Once request Once',
    'projection Sums query Total',
    'projector Totals event Added',
    'saga Tell event Added',
    'service Mailer command Mail',
  ];
  expect([...before].sort()).toEqual(all);
  expect([...after].sort()).toEqual(all);
});

it('what it throws refuses a message of the kinds that it is for, as if the handler had thrown it', async () => {
  const errors: string[] = [];
  const guard: Interceptor = {
    kinds: ['projection'],
    before() {
      throw new SpoolError('UNAVAILABLE', 'not now');
    },
    onError: (message, { code }) => void errors.push(`${named(message)} ${code}`),
  };
  await using running = await startInMemory(whole(guard));
  await expect(running.gateway.ask(Sums, 'Total', {})).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'not now' });
  expect((await running.gateway.send(Counter, 'Add', 'a', { n: 1 })).status).toBe('applied');
  expect(errors).toEqual(['projection Sums query Total UNAVAILABLE']);
});
