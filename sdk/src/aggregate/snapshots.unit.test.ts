import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, messageHeaders, record, SnapshotSchema, type Codec, type Snapshot } from '@spool/schemas';
import { createMemoryCluster, offset, topicCatalogue, type Kafka, type MemoryCluster, readTopic } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { aggregate, reject } from './aggregate.js';
import { rebuildSnapshot, takeSnapshot } from './host.js';
import { snapshotPrefix } from './rows.js';
import { stateHash } from './snapshots.js';

const Account = aggregate('Account', {
  commands: { Move: record('bank.Move', { amount: 'int' }) },
  events: { Moved: record('bank.Moved', { amount: 'int' }) },
  initial: () => ({ balance: 0 }),
  decide: {
    Move: ({ amount }, { balance }) =>
      balance + amount < 0 ? reject('OVERDRAWN', `only ${balance} left`) : [{ type: 'Moved', data: { amount } }],
  },
  evolve: { Moved: ({ balance }, { amount }) => ({ balance: balance + amount }) },
  snapshotEvery: 5,
});
const topics = topicCatalogue({ partitions: 1 });
const commands = topics.commands('Account').name;
const snapshots = topics.snapshots('Account').name;

let cluster: MemoryCluster;
let kafka: Kafka;
let codec: Codec;
let dataDir: string;
let told: string[];
let running: RunningBundle;
const start = async (): Promise<void> => {
  running = await startBundle(bundle({ id: 'bank', version: '1.0.0', components: [Account] }), {
    ...{ kafka, codec, topics, instance: 'bank-0', dataDir, now: Date.now },
    log(level, message, fields) {
      if (level === 'error') told.push(`${message} ${String(fields?.aggregateId)}`);
    },
  });
};
beforeEach(async () => {
  cluster = createMemoryCluster();
  kafka = cluster.connect();
  codec = createCodec({ registry: createMemoryRegistry() });
  dataDir = mkdtempSync(join(tmpdir(), 'spool-snapshots-'));
  told = [];
  await start();
});
afterEach(async () => {
  await running.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const move = (id: string, amount: number): Promise<unknown> =>
  running.gateway.send(Account, 'Move', id, { amount }).then(
    ({ version }) => version,
    (error: unknown) => (error as { facts: { reason: string } }).facts.reason,
  );
const snapshot = (row: Partial<Snapshot> & Pick<Snapshot, 'aggregateId' | 'version'>): Snapshot => {
  const state = row.state ?? JSON.stringify({ balance: 100 });
  return { eventOffset: 0, state, stateHash: stateHash(state), codeVersion: '1', deleted: false, at: 1, rebuilt: false, ...row };
};
/** The snapshots of an aggregate in the log. */
async function taken(id: string): Promise<readonly Snapshot[]> {
  const records = (await readTopic(kafka, snapshots)).filter(({ key }) => key!.toString() === snapshotPrefix + id);
  return Promise.all(records.map(async ({ value }) => codec.decoder(SnapshotSchema).decode(value!)));
}

describe('a restore', () => {
  it('does not take a snapshot whose state is not what its hash says, and folds its aggregate from its events', async () => {
    for (const id of ['a', 'b']) for (let n = 0; n < 5; n++) await move(id, 10);
    const own = (await readTopic(kafka, snapshots)).find(({ key }) => key!.toString() === `${snapshotPrefix}a`)!;
    const forged = (await codec.encoder(snapshots, SnapshotSchema)).encode({
      ...snapshot({ aggregateId: 'a', version: 5 }),
      stateHash: 'f',
    });
    const producer = await kafka.producer();
    await running.close();
    await producer.send({ topic: snapshots, partition: 0, key: `${snapshotPrefix}a`, value: forged });
    // As compaction does with the one before it. What else is left says that events are needed from a later one on.
    cluster.truncate({ topic: snapshots, partition: 0 }, offset(own.offset + 1n));
    rmSync(dataDir, { recursive: true, force: true });
    await start();
    expect([await move('a', -51), await move('a', -50), await move('b', -50)]).toEqual(['OVERDRAWN', 6, 6]);
    expect(told).toEqual(['a snapshot is not what its hash says: its aggregate is folded anew a']);
  });
});

describe('a state that is brought to the owner', () => {
  const bring = async (row: Snapshot, expectedVersion = row.version) => {
    const value = (await codec.encoder(commands, SnapshotSchema)).encode(row);
    const message = { topic: commands, key: row.aggregateId, type: rebuildSnapshot, id: `r${row.version}-${row.codeVersion}`, value };
    const { outcome, problem } = await running.gateway.request({ ...message, meta: { expectedVersion } });
    return [outcome, problem?.code];
  };

  it('is what commands are decided on from then on, also after a restart, and is in a snapshot', async () => {
    expect(await move('a', 10)).toBe(1);
    expect(await bring(snapshot({ aggregateId: 'a', version: 1 }))).toEqual(['applied', undefined]);
    expect(await taken('a')).toMatchObject([{ version: 1, state: '{"balance":100}', rebuilt: true }]);
    expect(await move('a', -60)).toBe(2);
    await running.close();
    rmSync(dataDir, { recursive: true, force: true });
    await start();
    expect([await move('a', -41), await move('a', -40)]).toEqual(['OVERDRAWN', 3]);
  });

  it('is refused when it is of another version of the aggregate or of the code, or of nobody', async () => {
    expect(await move('a', 10)).toBe(1);
    expect(await bring(snapshot({ aggregateId: 'a', version: 2 }))).toEqual(['conflict', 'VERSION_CONFLICT']);
    expect(await bring(snapshot({ aggregateId: 'a', version: 2 }), 1)).toEqual(['failed', 'UNAVAILABLE']);
    expect(await bring(snapshot({ aggregateId: 'a', version: 1, codeVersion: '2' }))).toEqual(['failed', 'UNAVAILABLE']);
    expect(await bring(snapshot({ aggregateId: 'nobody', version: 0 }))).toEqual(['failed', 'UNAVAILABLE']);
    expect([await move('a', -11), await taken('a')]).toEqual(['OVERDRAWN', []]);
  });
});

describe('a snapshot that is asked for', () => {
  it('is taken although the aggregate changes behind it in the same group', async () => {
    expect(await move('a', 10)).toBe(1);
    await running.close();
    const producer = await kafka.producer();
    const send = (id: string, type: string, value: Buffer) =>
      producer.send({ topic: commands, partition: 0, key: 'a', value, headers: messageHeaders({ id, type }) });
    await send('s', takeSnapshot, Buffer.alloc(0));
    await send('m', 'Move', (await codec.encoder(commands, Account.commands.Move)).encode({ amount: 1 }));
    await start();
    expect(await move('a', 1)).toBe(3);
    expect(await taken('a')).not.toEqual([]);
  });
});
