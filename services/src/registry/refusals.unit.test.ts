import type { BundleDescriptor } from '@spool/sdk';
import { sameDescriptor } from './refusals.js';

const component = { name: 'Counter', kind: 'aggregate' as const, description: '', handles: ['Add'], sends: [], replayable: false };
const descriptor: BundleDescriptor = { id: 'counting', version: '1.0.0', description: '', components: [component], payloads: [] };
const row = { ...descriptor, generation: 1, instances: ['a'], updatedAt: 0 };

it('a descriptor is the same wherever its code stands, and another with another handler', () => {
  const moved = { ...descriptor, repository: 'https://example.org/x', components: [{ ...component, source: { file: 'a.ts', line: 3 } }] };
  expect(sameDescriptor(row, moved)).toBe(true);
  expect(sameDescriptor(row, { ...descriptor, components: [{ ...component, handles: ['Add', 'Subtract'] }] })).toBe(false);
});
