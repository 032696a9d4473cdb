import { once } from 'node:events';
import { record } from '@spool/schemas';
import { bundle } from '../bundle/bundle.js';
import { Counter, Totals } from '../testing/counter.js';
import { startInMemory } from '../testing/start-in-memory.js';
import { projection } from './projection.js';

describe('the handler of a query', () => {
  it('is told when nobody waits any more: at the deadline, and when the instance stops', async () => {
    const reasons: string[] = [];
    const Slow = projection('Slow', {
      reads: Totals,
      queries: { Wait: { request: record('slow.Wait', {}), view: record('slow.WaitView', {}) } },
      answer: {
        Wait: async (_, __, { signal }) => {
          await once(signal, 'abort');
          reasons.push((signal.reason as Error).name);
          return {};
        },
      },
    });
    const whole = await startInMemory(bundle({ id: 'slow', version: '1.0.0', components: [Counter, Totals, Slow] }));
    // The asker gives up at the same moment, or gets the answer that the handler gives then: both are right.
    await whole.gateway.ask(Slow, 'Wait', {}, { timeoutMs: 50 }).catch(() => undefined);
    await whole.until(() => reasons.length === 1);
    expect(reasons).toEqual(['TimeoutError']);
    const answer = whole.gateway.ask(Slow, 'Wait', {}, { timeoutMs: 60_000 }).catch(() => undefined);
    await whole.until(() =>
      whole.running.instance.status().some(({ partitions }) => partitions.some(({ topic, end }) => topic.includes('Slow') && end > 1n)),
    );
    await whole.close();
    await answer;
    expect(reasons).toEqual(['TimeoutError', 'AbortError']);
  });
});
