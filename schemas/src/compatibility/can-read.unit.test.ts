import type { Resolver } from 'avsc';
import fc from 'fast-check';
import type { AvroSchema } from '../avro/schema.js';
import { avroType } from '../avro/types.js';
import { canRead, type Incompatibility } from './can-read.js';
import { parseAvro } from './parse.js';

const parse = (schema: unknown) => parseAvro(JSON.stringify(schema));
const check = (reader: unknown, writer: unknown) => canRead(parse(reader), parse(writer));
const brief = (found: readonly Incompatibility[]) => found.map(({ type, path, info }) => `${type} ${path} ${info}`);
const record = (fields: object[], more: object = {}) => ({ type: 'record', name: 'R', fields, ...more });
const field = (name: string, type: unknown, more: object = {}) => ({ name, type, ...more });

describe('promotions', () => {
  const primitives = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const;
  const readable = new Set([
    'long<int',
    'float<int',
    'float<long',
    'double<int',
    'double<long',
    'double<float',
    'bytes<string',
    'string<bytes',
  ]);

  it.each(primitives.flatMap((reader) => primitives.map((writer) => [reader, writer] as const)))(
    'a reader of %s and a writer of %s',
    (reader, writer) => {
      const found = brief(check(reader, writer));
      if (reader === writer || readable.has(`${reader}<${writer}`)) expect(found).toEqual([]);
      else
        expect(found).toEqual([
          `TYPE_MISMATCH / reader type: ${reader.toUpperCase()} not compatible with writer type: ${writer.toUpperCase()}`,
        ]);
    },
  );
});

describe('records', () => {
  const one = record([field('a', 'int')]);

  it.each([
    ['an added field with a default', record([field('a', 'int'), field('b', 'string', { default: '' })]), one],
    ['an added field whose default is null', record([field('a', 'int'), field('b', ['null', 'int'], { default: null })]), one],
    ['a removed field', record([]), one],
    ['another order of fields', record([field('b', 'int'), field('a', 'int')]), record([field('a', 'int'), field('b', 'int')])],
    ['a renamed field with an alias', record([field('z', 'int', { aliases: ['a'] })]), one],
    ['a renamed record with an alias', record([], { name: 'S', aliases: ['R'] }), one],
    ['another namespace, since names match unqualified', record([], { namespace: 'other' }), one],
  ])('can read after %s', (_, reader, writer) => {
    expect(check(reader, writer)).toEqual([]);
  });

  it.each([
    ['a field without default', record([field('a', 'int'), field('b', 'int')]), one, 'READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 b'],
    [
      'an enum field whose type alone has a default',
      record([field('b', { type: 'enum', name: 'E', symbols: ['A'], default: 'A' })]),
      one,
      'READER_FIELD_MISSING_DEFAULT_VALUE /fields/0 b',
    ],
    [
      'a changed field type',
      record([field('a', 'boolean')]),
      one,
      'TYPE_MISMATCH /fields/0/type reader type: BOOLEAN not compatible with writer type: INT',
    ],
    ['another name', record([field('a', 'int')], { name: 'S' }), one, 'NAME_MISMATCH /name expected: R'],
    [
      'an alias that makes a field ambiguous',
      record([field('a', 'int', { aliases: ['b'] })]),
      record([field('a', 'int'), field('b', 'int')]),
      'NAME_MISMATCH /fields/0/aliases field a matches several fields of the writer: a, b',
    ],
    [
      'a problem deep inside',
      record([field('l', { type: 'array', items: { type: 'map', values: record([field('x', 'int')], { name: 'In' }) } })]),
      record([field('l', { type: 'array', items: { type: 'map', values: record([], { name: 'In' }) } })]),
      'READER_FIELD_MISSING_DEFAULT_VALUE /fields/0/type/items/values/fields/0 x',
    ],
  ])('cannot read after %s', (_, reader, writer, message) => {
    expect(brief(check(reader, writer))).toEqual([message]);
  });

  it('reports every problem, each with its place', () => {
    expect(brief(check(record([field('a', 'string'), field('b', 'int')], { name: 'S' }), one))).toEqual([
      'NAME_MISMATCH /name expected: R',
      'TYPE_MISMATCH /fields/0/type reader type: STRING not compatible with writer type: INT',
      'READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 b',
    ]);
  });
});

describe('enums and fixed', () => {
  const enumOf = (symbols: string[], more: object = {}) => ({ type: 'enum', name: 'E', symbols, ...more });
  const fixed = (size: number, more: object = {}) => ({ type: 'fixed', name: 'F', size, ...more });

  it('an enum reads fewer symbols, and others if it has a default', () => {
    expect(check(enumOf(['A', 'B']), enumOf(['A']))).toEqual([]);
    expect(brief(check(enumOf(['A']), enumOf(['C', 'A', 'B'])))).toEqual(['MISSING_ENUM_SYMBOLS /symbols [B, C]']);
    expect(check(enumOf(['A'], { default: 'A' }), enumOf(['A', 'B']))).toEqual([]);
  });

  it('names and sizes must agree', () => {
    expect(brief(check(enumOf(['A'], { name: 'G' }), enumOf(['A'])))).toEqual(['NAME_MISMATCH /name expected: E']);
    expect(brief(check(fixed(4), fixed(8)))).toEqual(['FIXED_SIZE_MISMATCH /size expected: 8, found: 4']);
    expect(check(fixed(4, { name: 'G', aliases: ['F'] }), fixed(4))).toEqual([]);
    expect(brief(check(fixed(4), 'bytes'))).toEqual(['TYPE_MISMATCH / reader type: FIXED F not compatible with writer type: BYTES']);
  });
});

describe('unions', () => {
  it.each([
    ['a type becomes a union with it', ['null', 'int'], 'int'],
    ['a promotion into a branch', ['null', 'double'], 'int'],
    ['a union of one becomes its type', 'long', ['int', 'long']],
    ['more branches', ['null', 'int', 'string'], ['int', 'null']],
    ['a branch found by promotion', ['null', 'long'], ['null', 'int']],
  ])('can read when %s', (_, reader, writer) => {
    expect(check(reader, writer)).toEqual([]);
  });

  it.each([
    ['a lost branch', ['null', 'int'], ['null', 'string'], ['MISSING_UNION_BRANCH /1 reader union lacking writer type: STRING']],
    ['a type no branch reads', ['null', 'int'], 'boolean', ['MISSING_UNION_BRANCH / reader union lacking writer type: BOOLEAN']],
    ['a writer of several types', 'int', ['null', 'int'], ['TYPE_MISMATCH /0 reader type: INT not compatible with writer type: NULL']],
  ])('cannot read: %s', (_, reader, writer, messages) => {
    expect(brief(check(reader, writer))).toEqual(messages);
  });

  it('tell what is wrong inside the record that they hold', () => {
    const optional = (fields: object[]) => record([field('o', ['null', record(fields, { name: 'In' })])]);
    expect(brief(check(optional([field('x', 'int')]), optional([])))).toEqual([
      'MISSING_UNION_BRANCH /fields/0/type/1 reader union lacking writer type: RECORD In',
      'READER_FIELD_MISSING_DEFAULT_VALUE /fields/0/type/1/1/fields/0 x',
    ]);
  });
});

describe('recursion', () => {
  const list = (more: object[]) => record([field('next', ['null', 'R']), ...more]);

  it('ends, whether compatible or not', () => {
    expect(check(list([field('v', 'long')]), list([field('v', 'int')]))).toEqual([]);
    expect(brief(check(list([field('v', 'int')]), list([])))).toEqual(['READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 v']);
  });

  it('does not keep a verdict that leaned on an assumption refuted later', () => {
    // While A is tried as the branch for the writer's A, P is compatible only if A is. A fails by its own field; B is then tried, and P with it.
    const reader = [
      {
        type: 'record',
        name: 'A',
        fields: [field('p', { type: 'record', name: 'P', fields: [field('a', ['null', 'A'])] }), field('new', 'int')],
      },
      { type: 'record', name: 'B', aliases: ['A'], fields: [field('p', 'P')] },
    ];
    const writer = { type: 'record', name: 'A', fields: [field('p', { type: 'record', name: 'P', fields: [field('a', ['null', 'A'])] })] };
    expect(check(reader, writer)).not.toEqual([]);
  });
});

describe('bounds', () => {
  it('gives up on unions that would take minutes', () => {
    const union = (kind: string) => Array.from({ length: 1_500 }, (_, index) => ({ type: 'fixed', name: `${kind}${index}`, size: 1 }));
    expect(() => check(union('A'), union('B'))).toThrow('the schemas are too large to be compared');
  });

  it('does not repeat a problem at every use of a type', () => {
    const nested = (leaf: unknown) => {
      let type: unknown = record([field('x', leaf)], { name: 'T0' });
      for (let level = 1; level <= 60; level++) type = record([field('a', type), field('b', `T${level - 1}`)], { name: `T${level}` });
      return type;
    };
    expect(check(nested('int'), nested('string')).length).toBeLessThanOrEqual(100);
  });
});

describe('beside the types that read the records', () => {
  /** Pairs of related schemas: one is drawn, the other is drawn from the same few names and types, so that many fit. */
  const primitive = fc.constantFrom('null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string');
  const withDefault: Record<string, unknown> = {
    null: null,
    boolean: true,
    int: 1,
    long: 2,
    float: 0.5,
    double: 1.5,
    bytes: '',
    string: 's',
  };
  const named = (count: { n: number }, name: string) => `${name}${(count.n += 1)}`;

  /** A type tree without names; `instantiate` gives each named type its place's name, so reader and writer can match by position. */
  type Tree =
    | { k: 'p'; type: string }
    | { k: 'array' | 'map'; of: Tree }
    | { k: 'union'; of: Tree[] }
    | { k: 'enum'; symbols: string[]; fallback: boolean }
    | { k: 'fixed'; size: number }
    | { k: 'record'; fields: { name: string; type: Tree; fallback: boolean; alias: string | null }[] };
  const { tree } = fc.letrec<{ tree: Tree; leaf: Tree; branch: Tree }>((tie) => ({
    leaf: fc.oneof(
      primitive.map((type): Tree => ({ k: 'p', type })),
      fc.record({ k: fc.constant('enum' as const), symbols: fc.subarray(['A', 'B', 'C'], { minLength: 1 }), fallback: fc.boolean() }),
      fc.record({ k: fc.constant('fixed' as const), size: fc.constantFrom(2, 3) }),
    ),
    branch: fc.oneof(
      fc.record({ k: fc.constantFrom('array' as const, 'map' as const), of: tie('tree') }),
      fc.record({ k: fc.constant('union' as const), of: fc.array(tie('tree'), { minLength: 1, maxLength: 3 }) }),
      fc.record({
        k: fc.constant('record' as const),
        fields: fc.uniqueArray(
          fc.record({
            name: fc.constantFrom('a', 'b', 'c'),
            type: tie('tree'),
            fallback: fc.boolean(),
            alias: fc.constantFrom(null, null, 'a', 'b', 'c'),
          }),
          { selector: ({ name }) => name, maxLength: 3 },
        ),
      }),
    ),
    tree: fc.oneof({ depthSize: 'small', maxDepth: 4 }, tie('leaf'), tie('branch')),
  }));

  /** Names come from a few, so that those of reader and writer meet; avsc knows no type defined twice, so each is followed by its index. */
  function instantiate(of: Tree, count = { n: 0 }): unknown {
    switch (of.k) {
      case 'p':
        return of.type;
      case 'array':
        return { type: 'array', items: instantiate(of.of, count) };
      case 'map':
        return { type: 'map', values: instantiate(of.of, count) };
      case 'union': {
        // One of each kind, since the drawn names differ anyway, and none inside another.
        const kinds = new Map(of.of.map((branch) => [branch.k === 'p' ? branch.type : branch.k, branch]));
        kinds.delete('union');
        return kinds.size === 0 ? ['null'] : [...kinds.values()].map((branch) => instantiate(branch, count));
      }
      case 'enum':
        return { type: 'enum', name: named(count, 'E'), symbols: of.symbols, ...(of.fallback && { default: of.symbols[0] }) };
      case 'fixed':
        return { type: 'fixed', name: named(count, 'F'), size: of.size };
      case 'record': {
        const name = named(count, 'R');
        const fields = of.fields.map((drawn) => {
          const type = instantiate(drawn.type, count);
          const isPrimitive = typeof type === 'string';
          return {
            name: drawn.name,
            type,
            ...(drawn.fallback && isPrimitive && { default: withDefault[type] }),
            ...(drawn.alias !== null && drawn.alias !== drawn.name && { aliases: [drawn.alias] }),
          };
        });
        return { type: 'record', name, fields };
      }
    }
  }

  /** A reader that grew out of the writer by a few changes, or is a stranger to it. */
  const change = fc.constantFrom('keep', 'keep', 'keep', 'promote', 'default', 'drop', 'add', 'wrap', 'other');
  function mutate(of: Tree, next: () => string): Tree {
    const kind = next();
    if (kind === 'wrap' && of.k !== 'union') return { k: 'union', of: [{ k: 'p', type: 'null' }, of] };
    switch (of.k) {
      case 'p': {
        const wider: Record<string, string> = { int: 'long', long: 'double', float: 'double', string: 'bytes', bytes: 'string' };
        if (kind === 'promote') return { k: 'p', type: wider[of.type] ?? of.type };
        return kind === 'other' ? { k: 'p', type: 'boolean' } : of;
      }
      case 'array':
      case 'map':
        return { k: of.k, of: mutate(of.of, next) };
      case 'union': {
        const branches = of.of.map((branch) => mutate(branch, next));
        return { k: 'union', of: kind === 'drop' && branches.length > 1 ? branches.slice(1) : branches };
      }
      case 'enum':
        return kind === 'drop'
          ? { ...of, symbols: of.symbols.slice(0, 1), fallback: false }
          : kind === 'default'
            ? { ...of, symbols: of.symbols.slice(0, 1), fallback: true }
            : of;
      case 'fixed':
        return kind === 'other' ? { ...of, size: 4 } : of;
      case 'record': {
        const fields = of.fields.map((one) => ({ ...one, type: mutate(one.type, next), alias: null }));
        const added = { name: 'd', type: { k: 'p', type: 'string' } as const, fallback: next() !== 'drop', alias: null };
        return { k: 'record', fields: kind === 'drop' ? fields.slice(1) : kind === 'add' ? [...fields, added] : fields };
      }
    }
  }
  const pair = fc
    .tuple(tree, tree, fc.infiniteStream(change), fc.integer({ min: 0, max: 3 }))
    .map(([writer, stranger, changes, related]) => {
      const next = (): string => String(changes.next().value);
      return { writer: instantiate(writer), reader: instantiate(related === 0 ? stranger : mutate(writer, next)) };
    });

  it('finds the same pairs readable, and what it calls readable decodes', () => {
    const seen = { readable: 0, refused: 0 };
    fc.assert(
      fc.property(pair, ({ reader, writer }) => {
        const found = check(reader, writer);
        const writerType = avroType(writer as AvroSchema);
        const readerType = avroType(reader as AvroSchema);
        let resolver: Resolver | undefined;
        try {
          resolver = readerType.createResolver(writerType);
        } catch {
          resolver = undefined;
        }
        if (found.length === 0) {
          seen.readable += 1;
          expect(resolver).toBeDefined();
          const bytes = writerType.toBuffer(writerType.random());
          expect(() => void readerType.fromBuffer(bytes, resolver)).not.toThrow();
        } else {
          seen.refused += 1;
          expect(resolver).toBeUndefined();
        }
      }),
      { numRuns: 3_000 },
    );
    // Both answers were really put to the test.
    expect(seen.readable).toBeGreaterThan(300);
    expect(seen.refused).toBeGreaterThan(300);
  });
});
