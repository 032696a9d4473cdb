import { record } from '@spool/schemas';
import { bundle } from '../bundle/bundle.js';
import { Counter, Totals } from '../testing/counter.js';
import { startInMemory } from '../testing/start-in-memory.js';
import { fromToken, reached } from '../position/token.js';
import { projection } from './projection.js';
import { createResultCache } from './result-cache.js';

describe('the cache of a projection', () => {
  it('serves an answer again until the read model has changed, each request its own', async () => {
    const asked: number[] = [];
    const Multiples = projection('Multiples', {
      reads: Totals,
      cache: { maxEntries: 10 },
      queries: { Times: { request: record('times.Times', { by: 'int' }), view: record('times.TimesView', { sum: 'long' }) } },
      answer: {
        Times: ({ by }, { totals }) => {
          asked.push(by);
          return { sum: by * (totals.get('all')?.sum ?? 0) };
        },
      },
    });
    await using whole = await startInMemory(bundle({ id: 'multiples', version: '1.0.0', components: [Counter, Totals, Multiples] }));
    const ask = async (by: number, after = '') => whole.gateway.ask(Multiples, 'Times', { by }, { after });
    const { position } = await whole.gateway.send(Counter, 'Add', 'a', { n: 2 });
    for (const by of [2, 3, 2, 3]) {
      const answer = await ask(by, position);
      expect(answer.view).toEqual({ sum: 2 * by });
      expect(reached(fromToken(answer.position), fromToken(position))).toBe(true);
    }
    expect(asked).toEqual([2, 3]);
    const next = await whole.gateway.send(Counter, 'Add', 'a', { n: 1 });
    const answer = await ask(2, next.position);
    expect(answer.view).toEqual({ sum: 6 });
    expect(reached(fromToken(answer.position), fromToken(next.position))).toBe(true);
    expect(asked).toEqual([2, 3, 2]);
  });

  it('does not keep what was computed while the read model changed, nor beyond its time, nor more than its bound', async () => {
    const commits = new Set<() => void>();
    const positions = new Map();
    const model = {
      positions,
      onCommit(listener: () => void) {
        commits.add(listener);
        return () => void commits.delete(listener);
      },
    };
    const cache = createResultCache(model, { maxEntries: 2 });
    let computed = 0;
    const ask = (key: string, during?: () => void) =>
      cache.answer(Buffer.from(key), () => {
        during?.();
        return ++computed;
      });
    expect(await ask('a', () => commits.forEach((each) => each()))).toBe(1);
    expect(await ask('a')).toBe(2);
    expect(await ask('a')).toBe(2);
    await ask('b');
    await ask('c');
    expect(await ask('a')).toBe(5);
    // A reset of the read model moves its positions and is no commit.
    model.positions = new Map();
    expect(await ask('a')).toBe(6);
    const short = createResultCache(model, { maxEntries: 2, ttlMs: 1 });
    expect(await short.answer(Buffer.from('a'), () => 'old')).toBe('old');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await short.answer(Buffer.from('a'), () => 'new')).toBe('new');
  });
});
