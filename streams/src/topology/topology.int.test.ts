import { testKafka } from '@spool/embedded';
import fc from 'fast-check';
import { openStage, text, type Stage } from './conformance/stage.js';
import { topologyDriver } from './driver.js';
import { json, nullable, string } from './serde.js';
import { topology, type Declare, type Topology } from './topology.js';
import type { NoNames, Stream } from './verbs.js';
import { hopping, tumbling, type Windowed } from './windows.js';

/** Random topologies get the same random input with the driver and on a real broker: what they write has to be the same. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage(testKafka());
});
afterAll(() => stage[Symbol.asyncDispose]());

const words = { key: string, value: string };
const nulls = { key: nullable(string), value: nullable(string) };
type Words = Stream<string, string>;

const steps = {
  filter: (of) => of.filter((value) => value.length % 3 !== 0),
  mapValues: (of) => of.mapValues((value) => `${value}'`, string),
  flatMapValues: (of) => of.flatMapValues((value) => [value, `${value}+`], string),
  selectKey: (of) => of.selectKey((value, key) => (value.charCodeAt(0) % 2 === 0 ? `${key}e` : 'odd')),
  split: (of) => {
    const { a, rest } = of.split({ a: (value) => value.startsWith('a') });
    return a.mapValues((value) => `a${value}`, string).merge(rest);
  },
} satisfies Record<string, (of: Words) => Words>;

const named = <V>(windows: Stream<Windowed<string>, V>): Words =>
  windows.map((value, { key, start }) => [`${key}[${start}]`, text(value)] as readonly [string, string]);
const asText = <V>(of: Stream<string, V>): Words => of.mapValues((value) => text(value), string);
const pair = (a: string | undefined, b: string | undefined): string => `${a ?? '?'}|${b ?? '?'}`;
/** The key of the left side may have been changed: then it goes through a repartition topic. */
const ends = {
  none: (of) => of,
  count: (of) => asText(of.groupByKey(words).count('counts').toStream()),
  reduce: (of) =>
    asText(
      of
        .groupByKey(words)
        .reduce('longest', (a, b) => (b.length > a.length || (b.length === a.length && b > a) ? b : a))
        .toStream(),
    ),
  aggregate: (of) =>
    asText(
      of
        .groupByKey(words)
        .aggregate('lists', {
          initial: () => ({ n: 0 }),
          add: ({ n }) => (n === 4 ? undefined : { n: n + 1 }),
          value: json<{ n: number }>(),
        })
        .toStream(),
    ),
  tumbling: (of, _two, late) =>
    named(
      of
        .groupByKey(words)
        .windowedBy(tumbling({ sizeMs: 20, graceMs: late ? 10 : 1e6 }))
        .count('windows')
        .toStream(),
    ),
  final: (of) =>
    named(
      of
        .groupByKey(words)
        .windowedBy(tumbling({ sizeMs: 20, graceMs: 5 }), { emit: 'final' })
        .count('finals')
        .toStream(),
    ),
  hopping: (of, _two, late) =>
    named(
      of
        .groupByKey(words)
        .windowedBy(hopping({ sizeMs: 20, advanceMs: 7, graceMs: late ? 3 : 1e6 }))
        .count('hops')
        .toStream(),
    ),
  joinTable: (of, two) => of.join(two.toTable('rows', words), pair, { ...words, name: 'joined' }),
  leftJoinTable: (of, two) => of.leftJoin(two.toTable('rows', words), pair, { ...words, name: 'joined' }),
  tables: (of, two) => asText(of.toTable('lefts', words).outerJoin(two.toTable('rights', words), pair).toStream()),
  regroup: (of) =>
    asText(
      of
        .toTable('rows', words)
        .groupBy((value) => [value.slice(0, 1), value], words)
        .count('byFirst')
        .toStream(),
    ),
  joinStream: (of, two, late) =>
    of.joinStream(
      'near',
      two,
      { beforeMs: 10, afterMs: 15, graceMs: late ? 4 : 1e6, key: string, value: string, otherValue: string },
      pair,
    ),
  leftJoinStream: (of, two) =>
    of.leftJoinStream('near', two, { beforeMs: 10, afterMs: 15, graceMs: 4, key: string, value: string, otherValue: string }, pair),
} satisfies Record<string, (of: Words, two: Words, late: boolean) => Words>;
type End = keyof typeof ends;

interface Plan {
  readonly partitions: number;
  readonly steps: readonly (keyof typeof steps)[];
  readonly end: End;
  /** One topic each, and the records of a batch. */
  readonly batches: readonly {
    readonly topic: 'one' | 'two';
    readonly records: readonly (readonly [key: string, value: string | null, at: number])[];
  }[];
}
/** Results that depend on the order in which partitions are read are not to be expected when the key moves. */
const orderly: readonly End[] = ['none', 'count', 'reduce', 'aggregate', 'tumbling', 'hopping', 'joinStream'];
const moves = ({ steps: of }: Plan): boolean => of.includes('selectKey');
const plans: fc.Arbitrary<Plan> = fc
  .record({
    partitions: fc.constantFrom(1, 1, 3),
    steps: fc.array(fc.constantFrom(...(Object.keys(steps) as (keyof typeof steps)[])), { maxLength: 3 }),
    end: fc.constantFrom(...(Object.keys(ends) as End[])),
    batches: fc.array(
      fc.record({
        topic: fc.constantFrom('one' as const, 'two' as const),
        records: fc.array(
          fc.tuple(
            fc.constantFrom('k1', 'k2', 'k3', 'k4'),
            fc.option(fc.stringMatching(/^[a-d]{1,4}$/), { freq: 8 }),
            fc.nat({ max: 120 }),
          ),
          { minLength: 1, maxLength: 15 },
        ),
      }),
      { minLength: 2, maxLength: 5 },
    ),
  })
  .filter((plan) => plan.partitions === 1 || !moves(plan) || orderly.includes(plan.end));

function declared(name: string, plan: Plan): Topology<NoNames> {
  return topology(name, (define: Declare) => {
    const [one, two] = ['one', 'two'].map(
      (topic) => define.stream(`${name}.${topic}`, nulls).filter((value): value is string => value !== null) as unknown as Words,
    ) as [Words, Words];
    let stream = one;
    for (const step of plan.steps) stream = steps[step](stream);
    // Both topics are always read.
    two.filter(() => false).to(`${name}.out`, words);
    ends[plan.end](stream, two, plan.partitions === 1 || !moves(plan)).to(`${name}.out`, words);
  });
}

async function onDriver(name: string, plan: Plan): Promise<string[]> {
  const driver = await topologyDriver(declared(name, plan), { partitions: plan.partitions });
  for (const { topic, records } of plan.batches) {
    for (const [key, value, timestamp] of records) await driver.input(`${name}.${topic}`, nulls).send(key, value, { timestamp });
  }
  const made = await driver.output(`${name}.out`, words).read();
  // As the broker has them: partition by partition.
  return [...made].sort((a, b) => a.partition - b.partition).map(({ key, value, timestamp }) => `${text(key)}:${text(value)}@${timestamp}`);
}

async function onBroker(name: string, plan: Plan): Promise<string[]> {
  await stage.topics(plan.partitions, `${name}.one`, `${name}.two`, `${name}.out`);
  const running = await stage.run(declared(name, plan));
  for (const { topic, records } of plan.batches) {
    await stage.send(records.map((record) => [`${name}.${topic}`, ...record] as const));
    await running.caughtUp();
  }
  const shown = await stage.shown(`${name}.out`, words);
  await stage.clear();
  return shown;
}

/** Where keys move between partitions only the results are certain: the last of each key, or all pairs of a join. */
function certain(plan: Plan, shown: readonly string[]): readonly string[] {
  if (plan.partitions === 1 || (!moves(plan) && plan.end !== 'regroup' && !isWindowed(plan.end))) return shown;
  const results = shown.map((each) => each.slice(0, each.lastIndexOf('@')));
  if (plan.end === 'none' || plan.end === 'joinStream' || plan.end === 'leftJoinStream' || plan.end === 'final') return results.sort();
  return [...new Map(results.map((each) => [each.slice(0, each.indexOf(':')), each])).values()].sort();
}
/** The key that is written has the window in it, so tasks share the partitions of the output. */
const isWindowed = (end: End): boolean => end === 'tumbling' || end === 'hopping' || end === 'final';

it('the driver and the broker agree on random topologies and random inputs', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      const name = stage.name();
      expect(certain(plan, await onBroker(name, plan))).toEqual(certain(plan, await onDriver(name, plan)));
    }),
    // A failure prints its seed; it is not shrunk, since each try costs the broker some topics.
    { numRuns: 20, endOnFailure: true },
  );
}, 120_000);
