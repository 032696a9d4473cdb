import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { type SpoolError } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { topicCatalogue } from '@spool/streams';
import type { QuerySubscription } from '../gateway/messages.js';
import { Counter, Sums } from '../testing/counter.js';
import { connectClient, type Client } from './client.js';

let registry: Awaited<ReturnType<typeof startRegistryServer>>;
let namespace: string;
let dataDir: string;
let client: Client | undefined;
const children = new Map<string, ChildProcess>();
beforeEach(async () => {
  registry = await startRegistryServer();
  ({ namespace } = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` }));
  dataDir = mkdtempSync(join(tmpdir(), 'spool-client-'));
});
afterEach(async () => {
  await client?.close();
  client = undefined;
  for (const name of [...children.keys()]) await kill(name);
  await registry[Symbol.asyncDispose]();
  rmSync(dataDir, { recursive: true, force: true });
});
async function run(name: string): Promise<void> {
  const script = fileURLToPath(new URL('../testing/counter-process.js', import.meta.url));
  const child = fork(script, [testKafka().join(','), registry.url, namespace, name, join(dataDir, name), 'instance']);
  children.set(name, child);
  await once(child, 'message');
}
async function kill(name: string): Promise<void> {
  const child = children.get(name)!;
  children.delete(name);
  child.kill('SIGKILL');
  await once(child, 'exit');
}
const connect = async (): Promise<Client> =>
  (client = await connectClient({ brokers: testKafka(), schemaRegistryUrl: registry.url, namespace, clientId: 'shop' }));

describe('a client on a real broker', () => {
  it('sends, asks and subscribes to what another process serves, and to its events', async () => {
    await run('counting-0');
    const { send, ask, subscribe, subscribeQuery, close } = await connect();
    const { position, version, events } = await send(Counter, 'Add', 'a', { n: 2 }, { timeoutMs: 30_000 });
    expect([version, events.length]).toEqual([1, 1]);
    expect((await ask(Sums, 'Total', {}, { after: position, timeoutMs: 30_000 })).view).toEqual({ events: 1, sum: 2 });
    const sums = subscribeQuery(Sums, 'Total', {}, { after: position });
    expect((await sums.next()).value).toMatchObject({ view: { sum: 2 } });
    const log = await subscribe(Counter, { from: 'earliest' });
    expect((await log.next()).value).toMatchObject({ type: 'Added', aggregateId: 'a', data: { n: 2 } });

    const second = await send(Counter, 'Add', 'a', { n: 3 }, { expectedVersion: 1, commandId: 'c2' });
    expect((await ask(Sums, 'Total', {}, { after: second.position })).view).toEqual({ events: 2, sum: 5 });
    expect((await sums.next()).value).toMatchObject({ view: { sum: 5 } });
    expect((await log.next()).value).toMatchObject({ id: 'c2/0', version: 2, data: { n: 3 } });
    await expect(send(Counter, 'Add', 'a', { n: 9 }, { expectedVersion: 1 })).rejects.toMatchObject({
      code: 'VERSION_CONFLICT',
      facts: { actualVersion: 2 },
    });
    expect(await send(Counter, 'Add', 'a', { n: 3 }, { commandId: 'c2' })).toMatchObject({ status: 'duplicate', version: 2 });
    // What is left open ends with the client.
    const [lastSum, lastEvent] = [sums.next().catch((error: unknown) => error), log.next()];
    await close();
    expect(await lastSum).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await lastEvent).toEqual({ done: true, value: undefined });
  }, 60_000);

  it('has each subscription go on, with the last answer right and none older than one before, while those that serve it are killed', async () => {
    await run('counting-0');
    await run('counting-1');
    const { send, subscribeQuery } = await connect();
    let sum = 0;
    /** Until it has been applied: who decides it may be killed in between. */
    const add = async (n: number): Promise<string> => {
      sum += n;
      const commandId = randomUUID();
      for (;;) {
        try {
          return (await send(Counter, 'Add', `c${n % 7}`, { n }, { commandId, timeoutMs: 5000 })).position;
        } catch (error) {
          if (!['INDETERMINATE', 'EXPIRED', 'UNAVAILABLE', 'OVERLOADED'].includes((error as SpoolError).code)) throw error;
        }
      }
    };
    const after = await add(1);
    const open = Array.from({ length: 6 }, () => subscribeQuery(Sums, 'Total', {}, { after, leaseMs: 3000, timeoutMs: 30_000 }));
    const seen = open.map((): number[] => []);
    /** All that come up to the sum as it is now. */
    const readAll = () => Promise.all(open.map((each, at) => readUntil(each, sum, seen[at]!)));
    await readAll();
    // Each is served by one of the two.
    for (const name of ['counting-0', 'counting-1']) {
      const adding = (async () => {
        for (let n = 0; n < 60; n++) await add(n);
      })();
      await readUntil(open[0]!, 1, seen[0]!, (value) => value > seen[1]!.at(-1)!);
      await kill(name);
      await adding;
      await readAll();
      await run(name);
    }
    await add(1000);
    await readAll();
    for (const sums of seen) {
      expect(sums.at(-1)).toBe(sum);
      expect(sums).toEqual([...sums].sort((a, b) => a - b));
    }
    for (const each of open) {
      await each.return();
      expect(await each.next()).toEqual({ done: true, value: undefined });
    }
  }, 150_000);
});

async function readUntil(
  updates: QuerySubscription<{ sum: number }>,
  sum: number,
  into: number[],
  enough: (value: number) => boolean = (value) => value === sum,
): Promise<void> {
  if (into.at(-1) === sum) return;
  for (;;) {
    const { value, done } = await updates.next();
    if (done === true) throw new Error('the subscription ended');
    into.push(value.view.sum);
    if (enough(value.view.sum)) return;
  }
}
