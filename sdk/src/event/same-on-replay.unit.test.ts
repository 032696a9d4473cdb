import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, record } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { projection } from '../projection/projection.js';
import { projector, table } from '../projector/projector.js';

/** All that handlers were told, as they were told it. */
const told = { aggregate: [] as unknown[], projector: [] as unknown[] };
const Door = aggregate('Door', {
  commands: { Turn: record('door.Turn', {}) },
  events: { Turned: record('door.Turned', { by: 'string' }) },
  initial: () => ({ turns: 0 }),
  decide: { Turn: (_, __, { newId }) => [{ type: 'Turned', data: { by: newId() } }] },
  evolve: {
    Turned: ({ turns }, event, context) => {
      told.aggregate.push({ event, ...context });
      return { turns: turns + 1 };
    },
  },
});
const Turns = projector('Turns', {
  of: Door,
  tables: { turns: table<number>() },
  on: {
    Turned: (event, { turns }, context) => {
      told.projector.push({ event, ...context, queries: undefined });
      turns.put('all', (turns.get('all') ?? 0) + 1);
    },
  },
});
const Count = projection('Count', {
  reads: Turns,
  queries: { HowOften: { request: record('door.CountOf', {}), view: record('door.CountView', { turns: 'int' }) } },
  answer: { HowOften: (_, { turns }) => ({ turns: turns.get('all') ?? 0 }) },
});

const dataDir = mkdtempSync(join(tmpdir(), 'spool-replay-'));
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

it('handlers are told the same of an event when it is written and when it is replayed, the time too (Evento defect 6)', async () => {
  let clock = 1_000;
  const kafka = createMemoryCluster({ clock: () => clock }).connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const start = (): Promise<RunningBundle> =>
    startBundle(bundle({ id: 'doors', version: '1.0.0', components: [Door, Turns, Count] }), {
      ...{ kafka, codec, dataDir, topics: topicCatalogue({ partitions: 1 }), instance: 'doors-0', log: () => undefined },
      now: () => clock,
    });
  const first = await start();
  for (let turn = 0; turn < 3; turn++) {
    const sent = { correlationId: `c${turn}`, actor: 'ada' };
    const { position } = await first.gateway.send(Door, 'Turn', 'front', {}, sent);
    await first.gateway.ask(Count, 'HowOften', {}, { after: position });
    clock += 500;
  }
  await first.close();
  const written = { aggregate: told.aggregate.splice(0), projector: told.projector.splice(0) };
  expect(written.projector).toMatchObject([{ at: 1000, version: 1, correlationId: 'c0' }, { at: 1500 }, { at: 2000, version: 3 }]);
  expect(written.aggregate).toMatchObject([{ at: 1000, version: 1 }, { at: 1500 }, { at: 2000, version: 3 }]);

  // All that is left is the log, and it is another time.
  rmSync(join(dataDir, 'doors-0'), { recursive: true, force: true });
  clock += 1_000_000;
  const second = await start();
  const { position } = await second.gateway.send(Door, 'Turn', 'front', {}, { expectedVersion: 3 });
  expect((await second.gateway.ask(Count, 'HowOften', {}, { after: position })).view).toEqual({ turns: 4 });
  await second.close();
  await kafka.close();
  expect(told.aggregate.slice(0, 3)).toEqual(written.aggregate);
  expect(told.projector.slice(0, 3)).toEqual(written.projector);
});
