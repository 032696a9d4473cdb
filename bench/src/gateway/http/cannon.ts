import autocannon from 'autocannon';
import type { Measured } from '../../load.js';
import type { Order } from './orders.js';
import { requests } from './requests.js';

const bodies = 1000;

/** The same closed loop by autocannon, which nobody of ours has written. */
export async function cannon(order: Order): Promise<Measured> {
  if (order.kind !== 'closed') throw new Error('autocannon has no open loop');
  const { port, asked, callers, seconds } = order;
  const { path, body } = requests[asked];
  const shared = {
    url: `http://127.0.0.1:${port}`,
    connections: callers,
    requests: Array.from({ length: bodies }, () => ({
      ...{ method: 'POST' as const, path, body: body() },
      headers: { 'content-type': 'application/json' },
    })),
  };
  await autocannon({ ...shared, duration: 1 });
  const { latency, errors, non2xx, requests: answered, duration } = await autocannon({ ...shared, duration: seconds });
  return { callers, perSecond: answered.total / duration, p50: latency.p50, p99: latency.p99, failed: errors + non2xx };
}
