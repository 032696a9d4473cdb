import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCodec, createMemoryRegistry, messageHeaders, record } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue, readTopic } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle, type BundleOptions } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { observer } from '../observer/observer.js';
import { projector, table } from '../projector/projector.js';
import { saga } from '../saga/saga.js';
import type { UnknownEvents } from './unknown.js';

const Turned = record('door.Turned', {});
const Slammed = record('door.Slammed', { loud: 'boolean' });
/** As its bundle has it. */
const Door = aggregate('Door', {
  commands: { Turn: record('door.Turn', {}), Slam: record('door.Slam', {}) },
  events: { Turned, Slammed },
  initial: () => ({}),
  decide: { Turn: () => [{ type: 'Turned', data: {} } as const], Slam: () => [{ type: 'Slammed', data: { loud: true } } as const] },
  evolve: { Turned: (state) => state, Slammed: (state) => state },
});
/** As its readers knew it before doors could be slammed. */
const OldDoor = { kind: 'aggregate', name: 'Door', events: { Turned } } as const;

const handled: string[] = [];
const readers = {
  projector: (unknown: UnknownEvents) =>
    projector('Reader', {
      of: OldDoor,
      tables: { doors: table<number>() },
      on: {
        Turned: (_, { doors }, { aggregateId, version }) => {
          note(aggregateId, version);
          doors.put(aggregateId, version);
        },
      },
      ...unknown,
    }),
  'projector of batches': (unknown: UnknownEvents) =>
    projector('Reader', {
      of: OldDoor,
      tables: { doors: table<number>() },
      onBatch: (events, { doors }) => {
        for (const { context } of events) {
          note(context.aggregateId, context.version);
          doors.put(context.aggregateId, context.version);
        }
      },
      ...unknown,
    }),
  observer: (unknown: UnknownEvents) =>
    observer('Reader', {
      of: OldDoor,
      startAt: 'earliest',
      on: { Turned: (_, { aggregateId, version }) => note(aggregateId, version) },
      ...unknown,
    }),
  saga: (unknown: UnknownEvents) =>
    saga('Reader', {
      of: [OldDoor],
      startAt: 'earliest',
      initial: () => ({}),
      on: {
        Turned: {
          starts: true,
          by: (_, { aggregateId, version }) => (note(aggregateId, version), aggregateId),
          react: () => undefined,
        },
      },
      ...unknown,
    }),
};
const note = (id: string, version: number): void => void handled.push(`${id}${version}`);
/** What a handler was given again after a group that was given up counts once. */
const seen = (): string[] => [...new Set(handled)].sort();

const clock = 1_000_000;
function world() {
  const kafka = createMemoryCluster({ clock: () => clock }).connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ partitions: 2 });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-unknown-'));
  const start = (id: string, components: BundleOptions['components']): Promise<RunningBundle> =>
    startBundle(bundle({ id, version: '1.0.0', components }), {
      ...{ kafka, codec, topics, dataDir, instance: `${id}-0`, log: () => undefined },
      now: () => clock,
    });
  return {
    ...{ kafka, codec, topics, start },
    letters: async () =>
      (await readTopic(kafka, topics.deadLetters('reading.Reader-1.default').name)).map(
        ({ key, headers }) => `${String(key)} ${String(headers['dlq-code'])}`,
      ),
    async [Symbol.asyncDispose]() {
      await kafka.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
/** Doors of both partitions; the first of them is slammed. */
async function slammed(log: ReturnType<typeof world>): Promise<void> {
  handled.length = 0;
  await using doors = await log.start('doors', [Door]);
  const send = (type: 'Turn' | 'Slam', id: string) => doors.gateway.send(Door, type, id, {});
  await send('Turn', 'a');
  await send('Slam', 'a');
  await send('Turn', 'a');
  for (const id of ['b', 'c', 'd', 'e', 'f']) await send('Turn', id);
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`the condition did not come true: ${seen().join(' ')}`);
    await sleep(5);
  }
}
const status = ({ instance }: RunningBundle) => instance.status().find(({ consumer }) => consumer === 'reading.Reader-1.default')!;
const all = ['a1', 'a3', 'b1', 'c1', 'd1', 'e1', 'f1'];

describe.each(Object.keys(readers) as (keyof typeof readers)[])('%s: an event of a type that it does not know', (kind) => {
  it('is passed over when nothing is said', async () => {
    await using log = world();
    await slammed(log);
    await using reading = await log.start('reading', [readers[kind]({})]);
    await until(() => seen().length === all.length);
    expect([seen(), status(reading).error, await log.letters()]).toEqual([all, undefined, []]);
  });

  it('is parked with what follows of its aggregate', async () => {
    await using log = world();
    await slammed(log);
    await using _ = await log.start('reading', [readers[kind]({ unknown: 'park' })]);
    await until(async () => seen().length === all.length - 1 && (await log.letters()).length === 2);
    expect(seen()).toEqual(all.filter((each) => each !== 'a3'));
    expect(await log.letters()).toEqual(['a EVENT_UNKNOWN', 'a FOLLOWS_PARKED']);
  });

  it('is not passed, and the status says why; what knows it goes on from there', async () => {
    await using log = world();
    await slammed(log);
    {
      await using reading = await log.start('reading', [readers[kind]({ unknown: 'fail' })]);
      const others = async () => {
        const ends = await log.kafka.admin.offsets('evt.Door');
        const { partitions } = status(reading);
        return ends.filter(({ partition, latest }) => (partitions.find((at) => at.partition === partition)?.position ?? 0n) >= latest)
          .length;
      };
      await until(async () => status(reading).error !== undefined && (await others()) === 1 && seen().length > 1);
      expect(status(reading)).toMatchObject({
        state: 'running',
        error: expect.stringMatching(/^PARTITION_HELD: evt\.Door-[01]@\d+: Slammed is not among the events of Door$/) as string,
      });
      expect(seen()).not.toContain('a3');
      expect(await log.letters()).toEqual([]);
    }
    await using reading = await log.start('reading', [readers[kind]({ unknown: 'skip' })]);
    await until(() => seen().length === all.length);
    expect([seen(), status(reading).error]).toEqual([all, undefined]);
  });
});

describe('an event whose bytes cannot be read', () => {
  const broken = async (log: ReturnType<typeof world>): Promise<void> => {
    handled.length = 0;
    await log.kafka.admin.ensureTopics([log.topics.events('Door')]);
    await using producer = await log.kafka.producer();
    const headers = messageHeaders({ id: 'e-1', type: 'Turned', source: 'elsewhere', time: clock, aggregateVersion: 1 });
    await producer.send({ topic: 'evt.Door', key: 'a', value: Buffer.from('no Avro'), headers });
  };
  it.each(['skip', 'park'] as const)('is parked, not passed over, with `%s`', async (unknown) => {
    await using log = world();
    await broken(log);
    await using _ = await log.start('reading', [readers.projector({ unknown })]);
    await until(async () => (await log.letters()).length === 1);
    expect(await log.letters()).toEqual(['a RECORD_UNREADABLE']);
  });
  it('is not passed with `fail`', async () => {
    await using log = world();
    await broken(log);
    await using reading = await log.start('reading', [readers.projector({ unknown: 'fail' })]);
    await until(() => status(reading).error !== undefined);
    expect(status(reading).error).toMatch(/^PARTITION_HELD: evt\.Door-[01]@0: /);
    expect(await log.letters()).toEqual([]);
  });
});
