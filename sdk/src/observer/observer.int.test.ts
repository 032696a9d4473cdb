import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry } from '@spool/schemas';
import { startRegistryServer, until } from '@spool/schemas/testing';
import { connectKafka, topicCatalogue, readTopic } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle } from '../host/start-bundle.js';
import { Counter } from '../testing/counter.js';
import { Heard } from '../testing/watching.js';

it('an observer on two instances misses no event though one is killed in the midst of its handlers, and what it sends counts once', async () => {
  await using registry = await startRegistryServer();
  await using kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  const topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  const folder = mkdtempSync(join(tmpdir(), 'spool-watching-'));
  const file = join(folder, 'seen');
  writeFileSync(file, '');
  const seen = (what: 'begin' | 'end') =>
    readFileSync(file, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => line.split(' ') as [what: string, id: string, by: string])
      .filter(([is]) => is === what);
  const by = (what: 'begin' | 'end', child: ChildProcess, instance: string): string[] =>
    seen(what).flatMap(([, id, process]) => (process === `${instance}/${child.pid}` ? [id] : []));

  const children = new Set<ChildProcess>();
  const run = async (instance: string): Promise<ChildProcess> => {
    const script = fileURLToPath(new URL('../testing/watching-process.js', import.meta.url));
    const child = fork(script, [testKafka().join(','), registry.url, topics.namespace, instance, join(folder, instance), file]);
    children.add(child);
    await once(child, 'message');
    return child;
  };
  try {
    // Whoever gives the events goes on while observers die.
    await using writer = await startBundle(bundle({ id: 'writing', version: '1.0.0', components: [Counter, Heard] }), {
      kafka,
      codec: createCodec({ registry: createHttpRegistry({ url: registry.url }) }),
      topics,
      instance: 'writing-0',
      dataDir: join(folder, 'writing'),
      log: () => undefined,
    });
    const told: string[] = [];
    let added = 0;
    const add = (count: number): Promise<unknown> =>
      Promise.all(
        Array.from({ length: count }, async () => {
          const n = added++;
          const { events } = await writer.gateway.send(Counter, 'Add', `c${n}`, { n }, { timeoutMs: 30_000 });
          told.push(events[0]!.id);
        }),
      );
    const ended = (): Set<string> => new Set(seen('end').map(([, id]) => id));
    await run('watching-0');
    const second = await run('watching-1');

    // 1. One dies while it handles, and after places were committed: what it had begun by then is not behind them.
    const enough = new AbortController();
    const adding = (async () => {
      while (!enough.signal.aborted) {
        await add(10);
        await sleep(50);
      }
    })();
    const { name: source } = topics.events('Counter');
    const commits = () => kafka.admin.committedOffsets('watching.Watch-1.default', [source]);
    await until(async () => (await commits()).filter(({ offset }) => offset > 0n).length === 3, 60_000);
    await until(() => by('begin', second, 'watching-1').length > by('end', second, 'watching-1').length);
    second.kill('SIGKILL');
    await once(second, 'exit');
    enough.abort();
    const done = new Set(by('end', second, 'watching-1'));
    expect(done.size).toBeGreaterThan(0);
    const cutOff = by('begin', second, 'watching-1').filter((id) => !done.has(id));
    expect(cutOff.length).toBeGreaterThan(0);
    await adding;
    await until(() => told.every((id) => ended().has(id)), 60_000);

    // 2. It comes back, and has its share again.
    const again = await run('watching-1');
    await add(60);
    await until(() => told.every((id) => ended().has(id)), 60_000);
    expect(by('end', again, 'watching-1').length).toBeGreaterThan(0);

    // 3. Nothing else was handled; each event had its effect once, also where it was handled twice.
    expect([...ended()].sort()).toEqual([...told].sort());
    const effects = await readTopic(kafka, topics.events('Heard').name);
    expect(effects.map(({ key }) => key!.toString()).sort()).toEqual([...told].sort());
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}, 150_000);
