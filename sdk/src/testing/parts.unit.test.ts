import { topicCatalogue } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { describe as describeBundle } from '../bundle/describe.js';
import { Counter } from './counter.js';
import { inParts, PartOf } from './parts.js';
import { startInMemory } from './start-in-memory.js';

const whole = bundle({ id: 'parts', version: '1.0.0', components: [Counter, ...inParts.components] });

describe('a read model in parts', () => {
  it('answers in a bundle in memory, from the part of each key', async () => {
    await using running = await startInMemory(whole);
    const ids = Array.from({ length: 12 }, (_, n) => `c${n}`);
    const { gateway } = running;
    for (const [n, id] of ids.entries()) {
      const { position } = await gateway.send(Counter, 'Add', id, { n });
      expect((await gateway.ask(PartOf, 'One', { id }, { after: position })).view).toEqual({ sum: n });
    }
    await expect(gateway.ask(PartOf, 'One', { id: 'nobody' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('says in its descriptor that it is, and others do not', () => {
    const placements = describeBundle(whole, topicCatalogue({})).components.map(({ name, placement }) => [name, placement]);
    expect(placements).toEqual([
      ['Counter', undefined],
      ['PerCounter', 'partitioned'],
      ['PartOf', undefined],
    ]);
  });
});
