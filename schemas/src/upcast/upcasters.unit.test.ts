import { createCodec } from '../codec/codec.js';
import { createMemoryRegistry } from '../codec/memory-registry.js';
import { record, withDefault } from '../inline/record.js';
import { createUpcasters, upcaster } from './upcasters.js';

const Named = record('acme.PassengerNamed', { name: 'string' });
const Split = record('acme.PassengerRegistered', { first: 'string', last: 'string' });
const Ranked = record('acme.PassengerRegistered', { first: 'string', last: 'string', initials: withDefault('string', '') }, { version: 2 });
const split = upcaster(Named, Split, ({ name }) => ({ first: name.split(' ')[0]!, last: name.split(' ')[1] ?? '' }));
const rank = upcaster(Split, Ranked, ({ first, last }) => ({ first, last, initials: first.charAt(0) + last.charAt(0) }));

describe('upcasters', () => {
  const registry = createMemoryRegistry();
  const upcasters = createUpcasters([rank, split]);
  const codec = createCodec({ registry, upcasters });

  it('turn what any earlier type or version wrote into the type that is read', async () => {
    const oldest = (await codec.encoder('evt.P', Named)).encode({ name: 'Ada Byron' });
    const old = (await codec.encoder('evt.P', Split)).encode({ first: 'Ada', last: 'King' });
    const recent = (await codec.encoder('evt.P', Ranked)).encode({ first: 'A', last: 'B', initials: 'own' });
    const decoder = codec.decoder(Ranked);
    expect(await decoder.decode(oldest)).toEqual({ first: 'Ada', last: 'Byron', initials: 'AB' });
    expect(decoder.decode(oldest)).toEqual({ first: 'Ada', last: 'Byron', initials: 'AB' });
    expect(await decoder.decode(old)).toEqual({ first: 'Ada', last: 'King', initials: 'AK' });
    expect(await decoder.decode(recent)).toEqual({ first: 'A', last: 'B', initials: 'own' });
  });

  it('stop at the type that is read, and leave Avro to do the rest', async () => {
    const oldest = (await codec.encoder('evt.P', Named)).encode({ name: 'Ada Byron' });
    const recent = (await codec.encoder('evt.P', Ranked)).encode({ first: 'A', last: 'B', initials: 'own' });
    expect(await codec.decoder(Split).decode(oldest)).toEqual({ first: 'Ada', last: 'Byron' });
    expect(await codec.decoder(Split).decode(recent)).toEqual({ first: 'A', last: 'B' });
    expect(await codec.decoder(Named).decode(oldest)).toEqual({ name: 'Ada Byron' });
  });

  it('tell under which name an earlier type is handled', () => {
    expect(upcasters.currentName('acme.PassengerNamed')).toBe('acme.PassengerRegistered');
    expect(upcasters.currentName('acme.PassengerRegistered')).toBe('acme.PassengerRegistered');
    expect(upcasters.currentName('acme.Other')).toBe('acme.Other');
  });

  it('are refused when two begin at the same place, run in a circle or part ways', () => {
    const Other = record('acme.Other', { x: 'string' });
    const value = { first: '', last: '' };
    expect(() => createUpcasters([split, split])).toThrow('Two upcasters begin at acme.PassengerNamed@1');
    expect(() => createUpcasters([split, upcaster(Split, Named, () => ({ name: '' }))])).toThrow('run in a circle');
    expect(() =>
      createUpcasters([upcaster(Split, Other, () => ({ x: '' })), upcaster(Ranked, Named, () => ({ name: value.first }))]),
    ).toThrow('Versions of acme.PassengerRegistered end at acme.Other and at acme.PassengerNamed; it must be one of them');
  });
});
