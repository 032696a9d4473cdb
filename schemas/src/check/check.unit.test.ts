import { createMemoryRegistry } from '../codec/memory-registry.js';
import type { RecordDefinition } from '../avro/schema.js';
import type { Contract } from '../generate/contracts.js';
import { checkContracts } from './check.js';

const span = (...fields: RecordDefinition['fields']): RecordDefinition => ({
  type: 'record',
  name: 'Span',
  namespace: 'spool',
  doc: 'A span.',
  fields,
});
const contract = (schema: RecordDefinition): Contract => ({ fullName: 'spool.Span', file: 'Span', written: schema, complete: schema });
const id = { name: 'id', type: 'string', doc: 'Id.' } as const;

describe('the check of contracts', () => {
  it('compares with every version of every topic, and with no other subject', async () => {
    const registry = createMemoryRegistry({ compatibility: 'NONE' });
    await registry.register('a.spans-spool.Span', span(id));
    await registry.register('a.spans-spool.Span', span({ ...id, type: 'bytes' }));
    await registry.register('b.spans-spool.Span', span(id, { name: 'kind', type: 'int', doc: 'Kind.' }));
    await registry.register('b.spans-other.Span', { ...span(), namespace: 'other' });
    const [checked] = await checkContracts([contract(span(id, { name: 'late', type: 'int', doc: 'Late.' }))], registry);
    expect(checked).toEqual({
      fullName: 'spool.Span',
      subjects: ['a.spans-spool.Span', 'b.spans-spool.Span'],
      problems: [
        "a.spans-spool.Span: version 2: The field 'late' at path '/fields/1' in the new schema has no default value and is missing in the old schema",
        "a.spans-spool.Span: version 1: The field 'late' at path '/fields/1' in the new schema has no default value and is missing in the old schema",
        "b.spans-spool.Span: version 1: The field 'late' at path '/fields/1' in the new schema has no default value and is missing in the old schema",
        "b.spans-spool.Span: version 1: The field 'kind' at path '/fields/1' in the old schema has no default value and is missing in the new schema",
        'b.spans-spool.Span: /late: looks like kind renamed: give it the alias kind, or remove kind in a version of its own',
      ],
    });
  });

  it('lints without a registry', async () => {
    expect(await checkContracts([contract(span({ name: 'id', type: 'string' }))])).toEqual([
      { fullName: 'spool.Span', subjects: [], problems: ['/id: the field has no doc; say what it stands for and its unit'] },
    ]);
  });
});
