import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testKafka } from '@spool/embedded';
import { createCodec, createHttpRegistry, headerNames, type SpoolError } from '@spool/schemas';
import { startRegistryServer, until } from '@spool/schemas/testing';
import { connectKafka, topicCatalogue, type ConsumedRecord, type Kafka, type TopicCatalogue, readTopic } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import type { CommandResult } from '../gateway/messages.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { vouchers } from '../testing/vouchers.js';

let kafka: Kafka;
let topics: TopicCatalogue;
let folder: string;
const children = new Set<ChildProcess>();

beforeEach(async () => {
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'test' });
  topics = topicCatalogue({ namespace: `t${randomUUID().slice(0, 8)}.`, partitions: 3 });
  folder = mkdtempSync(join(tmpdir(), 'spool-vouchers-'));
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await kafka.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a service on a real broker', () => {
  it('has one outcome and one event for each command, though its processes are killed between the call and its record', async () => {
    await using registry = await startRegistryServer();
    const file = join(folder, 'outside');
    writeFileSync(file, '');
    const outside = () =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.split(' ') as [what: 'begin' | 'end', id: string, lock: string, process: string]);
    const begun = () => outside().filter(([what]) => what === 'begin');

    const script = fileURLToPath(new URL('../testing/vouchers-process.js', import.meta.url));
    let disks = 0;
    const run = async (instance: string): Promise<ChildProcess> => {
      const disk = join(folder, `disk-${disks++}`);
      const child = fork(script, [testKafka().join(','), registry.url, topics.namespace, instance, disk, file]);
      children.add(child);
      await once(child, 'message');
      return child;
    };
    const kill = async (child: ChildProcess): Promise<void> => {
      child.kill('SIGKILL');
      await once(child, 'exit');
      children.delete(child);
    };
    let first = await run('vouchers-0');
    const second = await run('vouchers-1');
    await using caller: RunningBundle = await startBundle(bundle({ id: 'caller', version: '1.0.0', components: [] }), {
      kafka,
      codec: createCodec({ registry: createHttpRegistry({ url: registry.url }) }),
      topics,
      instance: 'caller-0',
      dataDir: join(folder, 'caller'),
      log: () => undefined,
    });

    // 1. Commands under a few locks and under none, each until it has a definite answer.
    const Vouchers = vouchers(file, 'test');
    const definite = async (n: number): Promise<CommandResult> => {
      for (;;) {
        try {
          const lock = n % 3 === 0 ? null : `lock-${n % 20}`;
          const priority = (['high', 'normal', 'low'] as const)[n % 7 === 0 ? 0 : n % 5 === 0 ? 2 : 1];
          return await caller.gateway.send(Vouchers, 'Issue', lock, { code: `v${n}` }, { commandId: `c${n}`, priority, timeoutMs: 5000 });
        } catch (error) {
          const { code, retryAfterMs = 0 } = error as SpoolError;
          if (!['INDETERMINATE', 'EXPIRED', 'UNAVAILABLE', 'OVERLOADED'].includes(code)) throw error;
          await new Promise((resolve) => setTimeout(resolve, retryAfterMs));
        }
      }
    };
    const ids = Array.from({ length: 400 }, (_, n) => n);
    const sent = Promise.all(ids.map(definite));
    // 2. One process dies in the midst of calls, and comes back without its disk; then the other one dies.
    await until(() => begun().filter(([, , , by]) => by.startsWith('vouchers-0/')).length >= 40, 60_000);
    await kill(first);
    first = await run('vouchers-0');
    await until(() => begun().filter(([, , , by]) => by === `vouchers-0/${first.pid}`).length >= 20, 60_000);
    await kill(second);
    const results = await sent;
    expect(new Set(results.map(({ status }) => status)).size).toBeGreaterThan(0);

    // 3. One event each, with versions that count up for each lock.
    const events = await readTopic(kafka, topics.events('Vouchers').name);
    const header = ({ headers }: ConsumedRecord, name: 'commandId' | 'aggregateVersion') => headers[headerNames[name]]!.toString();
    expect(events.map((event) => header(event, 'commandId')).sort()).toEqual(ids.map((n) => `c${n}`).sort());
    const versions = new Map<string, number[]>();
    for (const event of events) {
      const key = event.key!.toString();
      versions.set(key, [...(versions.get(key) ?? []), Number(header(event, 'aggregateVersion'))]);
    }
    for (const seen of versions.values()) expect(seen).toEqual(seen.map((_, index) => index + 1));
    for (const [n, { version, events: made }] of results.entries())
      expect([n, made]).toEqual([n, [{ id: `c${n}/0`, type: 'Issued', version }]]);

    // 4. Every command was called; only those that a death caught without a record were called again, under the same key.
    const calls = new Map<string, string[]>();
    for (const [, id, , by] of begun()) calls.set(id, [...(calls.get(id) ?? []), by]);
    expect(calls.size).toBe(ids.length);
    const again = [...calls.values()].filter((by) => by.length > 1);
    expect(again.length).toBeGreaterThan(0);
    // By another process each time, as one that lives calls once; no more than ran at the deaths, and those of a lock one at a time.
    for (const by of again) expect(new Set(by).size).toBe(by.length);
    const running = new Map<string, string>();
    for (const [what, id, lock, by] of outside()) {
      if (lock === '-') continue;
      const place = `${lock} ${by}`;
      if (what === 'begin') expect(running.get(place)).toBeUndefined();
      if (what === 'begin') running.set(place, id);
      else running.delete(place);
    }

    // 5. What is sent again gets its recorded outcome, and calls nobody.
    const before = begun().length;
    const repeated = await Promise.all(ids.map(definite));
    expect(repeated.map(({ status, version, events: made }) => [status, version, made])).toEqual(
      results.map(({ version, events: made }) => ['duplicate', version, made]),
    );
    expect(begun().length).toBe(before);
  }, 150_000);
});
