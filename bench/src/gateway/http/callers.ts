import { closedLoop, type Measured } from '../../load.js';
import { offer, type Offered } from '../../commands/overload.js';
import { openConnections, type Connections } from './connections.js';
import type { Closed, Offer, Order } from './orders.js';
import { livesSeconds, toBytes, type Asked } from './requests.js';

const prepared = 1000;
/** Of an open loop: more than a gateway lets in. */
const manyConnections = 4000;
/** Made once: at several times what can be answered, making errors would be what the callers are busy with. */
const refused = Object.assign(new Error('503'), { code: 'OVERLOADED' });
const late = new Error('no answer in time');

/** Callers over HTTP, with what they say made beforehand. */
export function createCallers(): (order: Order) => Promise<Measured | Offered> {
  const all = (asked: Asked, prefer?: string) => Array.from({ length: prepared }, () => toBytes(asked, prefer));
  const made = { command: all('command'), query: all('query'), mortal: all('command', `wait=${livesSeconds}`) };
  const any = (of: keyof typeof made): Buffer => made[of][Math.floor(Math.random() * prepared)]!;

  const closed = async ({ port, asked, callers, seconds }: Closed): Promise<Measured> => {
    const connections = await openConnections(port, callers);
    const call = async (): Promise<void> => {
      const { status, body } = await connections.request(any(asked));
      if (status !== 200) throw new Error(`${status} ${body.toString()}`);
    };
    try {
      return await closedLoop(call, callers, seconds);
    } finally {
      connections.close();
    }
  };
  /** They stay open from one offer to the next. */
  let many: Connections | undefined;
  const offered = async ({ port, rate, seconds }: Offer): Promise<Offered> => {
    const connections = (many ??= await openConnections(port, manyConnections));
    const call = async (): Promise<void> => {
      const { status } = await connections.request(any('mortal'));
      if (status === 200) return;
      throw status === 503 ? refused : late;
    };
    return offer(call, rate, { seconds, timeoutMs: livesSeconds * 1000 });
  };
  return (order) => (order.kind === 'closed' ? closed(order) : offered(order));
}
