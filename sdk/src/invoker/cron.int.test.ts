import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { headerNames } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { connectKafka, tailTopic, topicCatalogue } from '@spool/streams';

const script = fileURLToPath(new URL('../testing/cron-process.js', import.meta.url));
const second = 1000;

it('a cron on two instances has the effect of each tick once, though the one that runs them is killed', async () => {
  await using registry = await startRegistryServer();
  await using kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  const topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.` });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-cron-'));
  const children = new Map<string, ChildProcess>();
  let owner = '';
  const ran: number[] = [];
  const start = async (name: string): Promise<void> => {
    const child = fork(script, [testKafka().join(','), registry.url, topics.namespace, name, join(dataDir, name)]);
    children.set(name, child);
    await once(child, 'message');
    child.on('message', (at: number) => {
      owner = name;
      ran.push(at);
    });
  };
  const until = async (condition: () => boolean): Promise<void> => {
    for (const deadline = Date.now() + 40_000; !condition();) {
      if (Date.now() > deadline) throw new Error(`the condition did not come true; ran ${ran.join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  try {
    await start('a');
    await start('b');
    for (let kills = 0; kills < 2; kills++) {
      const before = ran.length;
      await until(() => ran.length > before + 2);
      // At a tick: its command may be on the way, and the timer not yet taken off.
      const killed = owner;
      children.get(killed)!.kill('SIGKILL');
      await until(() => owner !== killed);
      await start(killed);
    }
    const last = ran.at(-1)!;
    await until(() => ran.at(-1)! > last + second);

    const times = new Map<number, number[]>();
    await using _ = await tailTopic({
      kafka,
      topic: topics.events('Counter').name,
      onRecord({ key, headers }) {
        const at = Number(key!.toString());
        times.set(at, [...(times.get(at) ?? []), Number(headers[headerNames.aggregateVersion]!.toString())]);
      },
      onError: (error) => {
        throw error;
      },
    });
    const ticks = [...times.keys()].sort((a, b) => a - b).filter((at) => at <= last);
    // None is left out, and each has its event once.
    expect(ticks).toEqual(Array.from({ length: ticks.length }, (_each, index) => ticks[0]! + index * second));
    expect(ticks.length).toBeGreaterThan(6);
    for (const versions of times.values()) expect(versions).toEqual([1]);
  } finally {
    for (const child of children.values()) child.kill('SIGKILL');
    rmSync(dataDir, { recursive: true, force: true });
  }
}, 120_000);
