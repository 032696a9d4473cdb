import { carried, describeEventTransport } from './conformance/transport.js';
import { createEventHub } from './memory.js';

const quiet = (): void => undefined;

describeEventTransport({
  name: 'memory',
  open() {
    const hub = createEventHub(quiet);
    const [one, two] = [hub.connect('one'), hub.connect('two')];
    return Promise.resolve({
      ...{ one, two, secondNode: 'two' },
      [Symbol.asyncDispose]: async () => {
        await one.close();
        await two.close();
      },
    });
  },
});

describe('nodes in memory', () => {
  it('get what is durable when they come, in order, and never what is transient', async () => {
    const hub = createEventHub(quiet);
    const one = hub.connect('one');
    const durable = Array.from({ length: 5 }, () => carried('app.data.x.info.made'));
    for (const event of durable) {
      await one.send(event, { scope: 'node', node: 'two' });
      await one.send(carried('app.data.x.info.made', { delivery: 'transient' }), { scope: 'node', node: 'two' });
    }
    expect(hub.dropped).toBe(5);
    const seen: string[] = [];
    await hub.connect('two').subscribe({ routing: '#' }, ({ id }) => void seen.push(id));
    await new Promise((resolve) => setImmediate(resolve));
    expect(seen).toEqual(durable.map(({ id }) => id));
  });
});
