import { record } from '@spool/schemas';
import { topicCatalogue } from '@spool/streams';
import { reject } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import { describe as describeBundle } from '../bundle/describe.js';
import { service } from './service.js';

const commands = { Pay: record('pay.Pay', { amount: 'int' }), Void: record('pay.Void', {}) };
const events = { Paid: record('pay.Paid', { amount: 'int' }) };

describe('a service', () => {
  it('is described with its three lanes, its commands and its events', () => {
    const Payments = service('Payments', { commands, events, handle: { Pay: () => undefined, Void: () => undefined } });
    const { components, payloads } = describeBundle(
      bundle({ id: 'pay', version: '1.0.0', components: [Payments] }),
      topicCatalogue({ partitions: 1 }),
    );
    expect(components).toMatchObject([
      {
        kind: 'service',
        handles: ['Pay', 'Void'],
        sends: ['Paid'],
        sources: ['svc.Payments.high', 'svc.Payments.normal', 'svc.Payments.low'],
      },
    ]);
    expect(payloads.map(({ type, kind, topic }) => `${kind} ${type} ${topic}`)).toEqual([
      'command Pay svc.Payments.normal',
      'command Void svc.Payments.normal',
      'event Paid evt.Payments',
    ]);
  });

  it('does not compile with a wrong payload, an event that is not declared, a command without a handler, or when it sends', () => {
    service('Typed', {
      commands,
      events,
      handle: {
        Pay: ({ amount }, context) => {
          // @ts-expect-error an amount is a number
          const wrong: string = amount;
          // @ts-expect-error a service sends nothing
          const { commands: sends } = context;
          // @ts-expect-error and asks nothing
          const { queries: asks } = context;
          return sends === asks ? undefined : { type: 'Paid', data: { amount: wrong.length } };
        },
        // @ts-expect-error such an event is not declared
        Void: () => ({ type: 'Voided', data: {} }),
      },
    });
    service('Payload', {
      commands,
      events,
      // @ts-expect-error the event has an amount
      handle: { Pay: () => ({ type: 'Paid', data: { sum: 1 } }), Void: () => reject('NO', 'no') },
    });
    // @ts-expect-error Void has no handler
    service('Missing', { commands, handle: { Pay: () => undefined } });
    // @ts-expect-error it gives an event and declares none
    service('Silent', { commands, handle: { Pay: () => ({ type: 'Paid', data: { amount: 1 } }), Void: () => undefined } });
    expect(Object.keys(commands)).toEqual(['Pay', 'Void']);
  });
});
