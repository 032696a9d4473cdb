import { connectClient } from '../../client/client.js';
import { connectDirect, localDirect, serveDirect } from '../running.js';
import { startTwo } from '../testing.js';
import { conforming } from './bundle.js';
import { describeCalls, type OpenedCalls } from './calls.js';

const direct = { undeclared: 'forbidden', givesUp: true, streams: true } as const;
/** Who may write to the topics of commands is settled by Kafka. */
const kafka = { undeclared: 'taken', givesUp: false, streams: false } as const;
const opened = (calls: OpenedCalls['calls'] & { close(): Promise<void> }, two: AsyncDisposable): OpenedCalls => ({
  calls,
  close: () => calls.close(),
  async [Symbol.asyncDispose]() {
    await calls.close();
    await two[Symbol.asyncDispose]();
  },
});

describeCalls({
  name: 'memory',
  differences: direct,
  async open() {
    const two = await startTwo(conforming);
    return opened(localDirect(two.running[0]), two);
  },
});
describeCalls({
  name: 'WebSocket, from one instance to another',
  differences: direct,
  async open() {
    const two = await startTwo(conforming);
    for (const each of two.running) await serveDirect(each);
    return opened(connectDirect(two.running[0], { discovery: { find: () => two.places() } }), two);
  },
});
describeCalls({
  name: 'Kafka gateway of a client, on a broker in memory',
  differences: kafka,
  async open() {
    const two = await startTwo(conforming);
    const { kafka: broker, codec } = two.running[0].instance;
    return opened(await connectClient({ kafka: broker, codec, clientId: 'client' }), two);
  },
});
