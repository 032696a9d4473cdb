import { readFileSync } from 'node:fs';
import { until } from '@spool/schemas/testing';
import { createEvents } from './events.js';
import { createEventHub } from './memory.js';

const hub = createEventHub(() => undefined);
let ids = 0;
const eventsOf = (kind: string) =>
  createEvents({
    ...{ emitter: { host: 'h', kind, id: `${kind}-0` }, transport: () => Promise.resolve(hub.connect(kind)) },
    ...{ log: () => undefined, now: () => 0, newId: () => `e${ids++}` },
  });

it('the example of docs/events.md does what it says, as it stands there', async () => {
  await using events = eventsOf('gateway');
  await using other = eventsOf('monitor');
  const alarms: string[] = [];
  const ring = (text: string): void => void alarms.push(text);
  const payments = { charge: (order: string) => Promise.resolve(`charged ${order}`) };
  const charged: unknown[] = [];
  // docs/events.md begins
  events.declare('token-expired', {
    routing: { root: 'shop', kind: 'exception', category: ['auth', 'token'], severity: 'error', detail: 'expired' },
  });
  events.declare('charged', {
    routing: { root: 'shop', kind: 'data', category: ['payments'], severity: 'info', detail: 'charged' },
    delivery: 'transient',
  });
  // Errors of all gateways, whatever they are about:
  await other.subscribe({ routing: 'shop.exception.#', emitter: '*.gateway.*' }, 'alarm', ({ routing, data }) =>
    ring(`${routing} ${JSON.stringify(data)}`),
  );
  await events.fire('token-expired', { user: 'ada' });
  // And whenever a method has done its work:
  events.fireOnCall(payments, 'charge', 'charged', ([order], receipt) => ({ order, receipt }));
  // docs/events.md ends
  await other.subscribe({ routing: '#.charged' }, 'ledger', ({ data }) => void charged.push(data));
  await payments.charge('o-1');
  await until(() => alarms.length === 1 && charged.length === 1);
  expect(alarms).toEqual(['shop.exception.auth.token.error.expired {"user":"ada"}']);
  expect(charged).toEqual([{ order: 'o-1', receipt: 'charged o-1' }]);
  const here = readFileSync(new URL('../../src/routed/example.unit.test.ts', import.meta.url), 'utf8')
    .split(/ *\/\/ docs\/events\.md (?:begins|ends)\n/)[1]!
    .replaceAll(/^ {2}/gm, '');
  expect(readFileSync(new URL('../../../docs/events.md', import.meta.url), 'utf8')).toContain(here);
});
