import type { AvroSchema } from '../avro/schema.js';
import type { SchemaRegistry } from './registry.js';

const flight = (...more: readonly object[]): AvroSchema => ({
  type: 'record',
  name: 'Flight',
  namespace: 'acme',
  fields: [{ name: 'id', type: 'string' }, ...(more as [])],
});
const note = { name: 'note', type: 'string', default: '' };

/** What every registry does. @param open gives one that is empty; it is closed by whoever opened it. */
export function registryConformance(open: () => Promise<SchemaRegistry>): void {
  let registry: SchemaRegistry;
  beforeEach(async () => {
    registry = await open();
  });

  it('gives the same schema the same id, under every subject', async () => {
    const id = await registry.register('a-acme.Flight', flight());
    expect(await registry.register('a-acme.Flight', flight())).toBe(id);
    expect(await registry.register('b-acme.Flight', flight())).toBe(id);
    expect(await registry.register('a-acme.Flight', flight(note))).not.toBe(id);
  });

  it('gives one id when many register at once', async () => {
    const ids = await Promise.all(Array.from({ length: 5 }, () => registry.register('a-acme.Flight', flight())));
    expect(new Set(ids).size).toBe(1);
  });

  it('gives back what was registered, by id and by subject', async () => {
    const first = await registry.register('a-acme.Flight', flight());
    const second = await registry.register('a-acme.Flight', flight(note));
    expect(await registry.schemaById(second)).toEqual(flight(note));
    expect(await registry.versions('a-acme.Flight')).toEqual([
      { version: 1, id: first, schema: flight() },
      { version: 2, id: second, schema: flight(note) },
    ]);
    expect(await registry.subjects()).toContain('a-acme.Flight');
    expect(await registry.versions('nobody-acme.Flight')).toEqual([]);
  });

  it('keeps primitives and unions', async () => {
    expect(await registry.schemaById(await registry.register('p-value', 'string'))).toBe('string');
    expect(await registry.schemaById(await registry.register('u-value', ['null', 'string']))).toEqual(['null', 'string']);
  });

  it('refuses a version that is not compatible with an earlier one, and says why', async () => {
    await registry.register('a-acme.Flight', flight());
    await expect(registry.register('a-acme.Flight', flight({ name: 'seats', type: 'int' }))).rejects.toMatchObject({
      code: 'SCHEMA_INCOMPATIBLE',
      message: expect.stringContaining('seats') as unknown,
    });
    expect(await registry.versions('a-acme.Flight')).toHaveLength(1);
  });

  it('looks at all earlier versions, as the level of a new subject is FULL_TRANSITIVE', async () => {
    await registry.register('a-acme.Flight', flight());
    await registry.register('a-acme.Flight', flight(note));
    await expect(registry.register('a-acme.Flight', flight({ name: 'note', type: 'int', default: 0 }))).rejects.toMatchObject({
      code: 'SCHEMA_INCOMPATIBLE',
    });
  });

  it('refuses what is not Avro', async () => {
    const bad: AvroSchema = { type: 'record', name: 'acme.Bad', fields: [{ name: 'a', type: 'strin' }] };
    await expect(registry.register('a-acme.Bad', bad)).rejects.toMatchObject({ code: 'SCHEMA_INVALID' });
  });

  it('does not know an id that nobody got', async () => {
    await expect(registry.schemaById(1_000_000)).rejects.toMatchObject({ code: 'SCHEMA_UNKNOWN' });
  });
}
