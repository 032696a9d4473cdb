import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageHeaders, record, SnapshotSchema, type MessageMeta, type Snapshot } from '@spool/schemas';
import { snapshotPrefix, stateHash, takeSnapshot } from '@spool/sdk';
import { offset } from '@spool/streams';
import { foldAsker } from '../states.js';
import { account, Account, stage, type Stage } from '../testing.js';
import { verifySource, type VerifyOptions } from './verify.js';
import type { Violation } from './violations.js';

let on: Stage;
let scratchDir: string;
let found: Violation[];
beforeEach(async () => {
  on = await stage({ partitions: 1 });
  scratchDir = mkdtempSync(join(tmpdir(), 'spool-scratch-'));
  found = [];
});
afterEach(async () => {
  await on[Symbol.asyncDispose]();
  // What it took for the time of the check is given back.
  if (existsSync(scratchDir)) expect(readdirSync(scratchDir)).toEqual([]);
  rmSync(scratchDir, { recursive: true, force: true });
});

const verify = (more: Partial<VerifyOptions> = {}) => {
  const { kafka, codec, topics, platform, gateway } = on;
  const ask = foldAsker(platform, gateway);
  const onViolation = (violation: Violation): void => void found.push(violation);
  return verifySource(
    { kind: 'aggregate', name: 'Account' },
    { kafka, codec, topics, now: Date.now, ask, scratchDir, onViolation, ...more },
  );
};
const paid = record('store.Paid', { amount: 'int', note: 'string' });
/** An event that no owner wrote. @returns its offset */
async function plant(key: string, version: number, meta: Partial<MessageMeta> = {}): Promise<string> {
  const topic = on.topics.events('Account').name;
  const value = (await on.codec.encoder(topic, paid)).encode({ amount: 1, note: '' });
  const headers = messageHeaders({ id: `planted-${key}-${version}`, type: 'Paid', aggregateVersion: version, writerEpoch: 1000, ...meta });
  return (await on.platform.producer.send({ topic, key, value, headers })).offset.toString();
}
async function plantSnapshot(row: Partial<Snapshot> & { readonly aggregateId: string }): Promise<string> {
  const topic = on.topics.snapshots('Account').name;
  const state = row.state ?? JSON.stringify({ balance: 3, notes: [] });
  const full = {
    version: 3,
    eventOffset: 3,
    state,
    stateHash: stateHash(state),
    codeVersion: '1',
    deleted: false,
    at: 1,
    rebuilt: false,
    ...row,
  };
  const value = (await on.codec.encoder(topic, SnapshotSchema)).encode(full);
  return (await on.platform.producer.send({ topic, key: snapshotPrefix + row.aggregateId, value })).offset.toString();
}
const many = (id: string, count: number): Promise<unknown> => on.bank.gateway.send(Account, 'Many', id, { count });
const evt = { topic: 'evt.Account', partition: 0, aggregateType: 'Account' };
const snap = { ...evt, topic: 'snap.Account' };

describe('the verification of a log', () => {
  it('finds nothing wrong with what owners wrote, whatever they were', async () => {
    for (let n = 0; n < 5; n++) await many('a', 60);
    await many('b', 1200);
    await on.bank.gateway.send(Account, 'Put', 'b', { amount: 3, note: 'x' });
    for (const id of ['a', 'b']) {
      await on.bank.gateway.request({ topic: 'cmd.Account', key: id, type: takeSnapshot, id: `s-${id}`, value: Buffer.alloc(0) });
    }
    await many('c', 3);
    await on.bank.gateway.send(Account, 'Close', 'c', {});
    await on.bank.gateway.request({ topic: 'cmd.Account', key: 'c', type: takeSnapshot, id: 's-c', value: Buffer.alloc(0) });
    const before = await verify();
    expect(before).toMatchObject({ events: 1505, aggregates: 3, snapshots: 6, compared: 6, otherCode: 0, violations: 0 });
    await on.deploy(account('2', 10));
    await many('a', 100);
    const after = await verify();
    expect(after).toMatchObject({ events: 1605, snapshots: 7, compared: 1, otherCode: 6, violations: 0 });
    expect(found).toEqual([]);
  });

  it('finds versions that are missing or there twice', async () => {
    const gap = await plant('a', 2);
    await plant('a', 3);
    const twice = await plant('a', 3, { id: 'other' });
    await plant('a', 4);
    expect(await verify()).toMatchObject({ violations: 2, events: 4 });
    expect(found).toEqual([
      { ...evt, code: 'VERSION_GAP', aggregateId: 'a', offset: gap, expected: 'version 1', found: 'version 2' },
      { ...evt, code: 'VERSION_REPEATED', aggregateId: 'a', offset: twice, expected: 'version 4', found: 'version 3' },
    ]);
  });

  it('finds a writer that wrote after it was replaced, and an event id that is there twice', async () => {
    const first = await plant('a', 1, { writerEpoch: 5, id: 'x' });
    await plant('b', 1, { writerEpoch: 6 });
    const late = await plant('a', 2, { writerEpoch: 5 });
    const again = await plant('c', 1, { writerEpoch: 6, id: 'x' });
    await verify();
    expect(found).toEqual([
      { ...evt, code: 'EPOCH_FELL', aggregateId: 'a', offset: late, expected: 'epoch 6 or later', found: 'epoch 5' },
      { ...evt, code: 'EVENT_REPEATED', aggregateId: 'c', offset: again, expected: 'no second event x', found: `also at 0@${first}` },
    ]);
  });

  it('finds what follows a deletion, and a snapshot that does not know of it (Evento defect 5)', async () => {
    await many('a', 1);
    await on.bank.gateway.send(Account, 'Close', 'a', {});
    const risen = await plant('a', 3);
    const at = await plantSnapshot({ aggregateId: 'a', state: JSON.stringify({ balance: 2, notes: [] }) });
    await verify();
    expect(found).toEqual([
      { ...evt, code: 'AFTER_DELETION', aggregateId: 'a', offset: risen, expected: 'nothing after version 2', found: 'version 3, Paid' },
      expect.objectContaining({ ...snap, code: 'SNAPSHOT_DIFFERS', offset: at, expected: 'the state of a deleted aggregate' }),
    ]);
  });

  it('finds a snapshot whose hash is not its own, that is not the fold of its events, or is of a version that is not there', async () => {
    await many('a', 3);
    const right = await plantSnapshot({ aggregateId: 'a', state: JSON.stringify({ notes: [], balance: 3 }) });
    const broken = await plantSnapshot({ aggregateId: 'a', stateHash: 'f'.repeat(32) });
    const forged = await plantSnapshot({ aggregateId: 'a', state: JSON.stringify({ balance: 4, notes: [] }) });
    const ahead = await plantSnapshot({ aggregateId: 'a', version: 4 });
    const topic = on.topics.snapshots('Account').name;
    const none = await on.platform.producer.send({ topic, key: `${snapshotPrefix}z`, value: Buffer.from('no Avro') });
    expect(await verify()).toMatchObject({ snapshots: 5, compared: 3, violations: 4 });
    expect(found.map(({ code, offset: at }) => [code, at])).toEqual([
      ['SNAPSHOT_HASH', broken],
      ['SNAPSHOT_UNREADABLE', none.offset.toString()],
      ['SNAPSHOT_DIFFERS', forged],
      ['SNAPSHOT_AHEAD', ahead],
    ]);
    expect(found.map(({ version }) => version)).toEqual([3, undefined, 3, 4]);
    expect(found[2]!.states).toEqual({ expected: { balance: 3, notes: [] }, found: { balance: 4, notes: [] } });
    expect(found[2]!.expected).toContain('at version 3; at /balance 3');
    expect(found[2]!.found).toContain('1 differences; there 4');
    expect(right).not.toBe(forged);
  });

  it('finds code that does not give the same state each time, and code that was changed without another version, and tells both states', async () => {
    let called = 0;
    await on.deploy(account('1', () => ++called));
    await many('a', 2);
    await on.bank.gateway.request({ topic: 'cmd.Account', key: 'a', type: takeSnapshot, id: 's', value: Buffer.alloc(0) });
    await verify();
    expect(found).toEqual([expect.objectContaining({ ...snap, code: 'SNAPSHOT_DIFFERS', aggregateId: 'a', version: 2 })]);
    // The first two amounts when it was written, and the two after them now.
    expect(found[0]!.states).toEqual({ expected: { balance: 3 + 4, notes: [] }, found: { balance: 1 + 2, notes: [] } });
    await on.deploy(account('1', 10));
    found = [];
    await verify();
    expect(found).toMatchObject([{ code: 'SNAPSHOT_DIFFERS', version: 2, states: { expected: { balance: 20 }, found: { balance: 3 } } }]);
  });

  it('tells of large states without them', async () => {
    await many('a', 1);
    await plantSnapshot({ aggregateId: 'a', version: 1, state: JSON.stringify({ balance: 1, notes: ['x'.repeat(100_000)] }) });
    await verify();
    expect(found).toMatchObject([{ code: 'SNAPSHOT_DIFFERS', version: 1 }]);
    expect(found[0]).not.toHaveProperty('states');
  });

  it('finds events that the code cannot fold, and goes on with other aggregates', async () => {
    await many('b', 3);
    await plant('a', 1, { type: 'Closed' });
    const cannot = await plantSnapshot({ aggregateId: 'a', version: 1 });
    await plantSnapshot({ aggregateId: 'b' });
    expect(await verify()).toMatchObject({ snapshots: 2, compared: 1, violations: 1 });
    expect(found).toEqual([expect.objectContaining({ ...snap, code: 'FOLD_FAILED', aggregateId: 'a', offset: cannot })]);
    expect(found[0]!.found).toContain('RECORD_UNREADABLE');
  });

  it('finds records that are no events, and a log whose beginning is gone', async () => {
    await many('a', 3);
    await on.platform.producer.send({ ...evt, key: 'a', value: Buffer.from('x') });
    on.cluster.truncate(evt, offset(2));
    expect(await verify()).toMatchObject({ violations: 2, events: 2 });
    expect(found.map(({ code, expected, found: is }) => [code, expected, is])).toEqual([
      ['LOG_CUT', 'offset 0', 'offset 2'],
      ['EVENT_UNREADABLE', expect.any(String), 'no ce_id, ce_type, aggregateversion'],
    ]);
  });

  it('takes the first version that it sees as it is when it begins in the middle, and needs no code to look at the log', async () => {
    await many('a', 2);
    const [first] = await on.kafka.admin.offsets('evt.Account');
    expect(first!.latest > 0n).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const from = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await many('a', 2);
    expect(await verify({ from })).toMatchObject({ events: 2, violations: 0 });
    await on.bank.close();
    expect(await verify({ ask: undefined })).toMatchObject({ events: 4, compared: 0, violations: 0 });
  });
});
