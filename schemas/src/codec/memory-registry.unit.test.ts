import { createMemoryRegistry } from './memory-registry.js';
import { registryConformance } from './registry.conformance.js';

describe('the registry in memory', () => {
  registryConformance(() => Promise.resolve(createMemoryRegistry()));

  it('takes any schema at level NONE', async () => {
    const registry = createMemoryRegistry({ compatibility: 'NONE' });
    await registry.register('a', 'string');
    await registry.register('a', 'int');
    expect(await registry.versions('a')).toHaveLength(2);
  });
});
