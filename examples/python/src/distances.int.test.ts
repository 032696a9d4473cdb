import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts, spawnClickHouse, superviseChild, testKafka, type SpawnedClickHouse, type SupervisedChild } from '@spool/embedded';
import { readMeta } from '@spool/schemas';
import { until } from '@spool/schemas/testing';
import { connectKafka, readTopic, topicCatalogue, type Kafka } from '@spool/streams';

const home = fileURLToPath(new URL('..', import.meta.url));
const platformMain = fileURLToPath(new URL('../../../services/dist/platform/main.js', import.meta.url));
const topics = topicCatalogue({ namespace: `py${randomUUID().slice(0, 8)}.` });

let dataDir: string;
let python: string;
let kafka: Kafka;
let clickhouse: SpawnedClickHouse;
let platform: SupervisedChild;
let base: string;
let environment: Record<string, string>;
let bundle: ChildProcess;

beforeAll(async () => {
  python = installed();
  dataDir = mkdtempSync(join(tmpdir(), 'spool-python-'));
  kafka = await connectKafka({ brokers: testKafka(), clientId: 'python-test' });
  clickhouse = await spawnClickHouse({ dataDir: join(dataDir, 'clickhouse') });
  const [http, schemas] = await freePorts(2);
  base = `http://127.0.0.1:${http}/api/v1`;
  environment = {
    KAFKA_BROKERS: testKafka().join(','),
    SPOOL_NAMESPACE: topics.namespace,
    SCHEMA_REGISTRY_URL: `http://127.0.0.1:${schemas}`,
    SPOOL_INSTANCE: 'distances-0',
  };
  platform = await superviseChild({
    ...{
      command: process.execPath,
      args: [platformMain],
      ipc: true,
      name: 'platform',
      ready: 'ipc',
      logFile: join(dataDir, 'platform.log'),
    },
    env: {
      ...process.env,
      ...{ KAFKA_BROKERS: environment['KAFKA_BROKERS'], SPOOL_NAMESPACE: topics.namespace, SPOOL_DATA_DIR: join(dataDir, 'platform') },
      ...{ SPOOL_HTTP_PORT: String(http), SPOOL_SCHEMA_REGISTRY_PORT: String(schemas) },
      ...{ CLICKHOUSE_URL: clickhouse.url, SPOOL_CLICKHOUSE_WRITER_PASSWORD: clickhouse.writer.password },
    },
  });
  bundle = start();
}, 180_000);
afterAll(async () => {
  await end('SIGKILL');
  await platform.close();
  await clickhouse.close();
  await kafka.close();
  rmSync(dataDir, { recursive: true, force: true });
}, 60_000);

/** As README.md says; again only when the requirements have changed. */
function installed(): string {
  const wanted = readFileSync(join(home, 'requirements.txt'), 'utf8');
  const venv = join(home, '.venv');
  const stamp = join(venv, 'requirements.txt');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    execFileSync('python3', ['-m', 'venv', '--clear', venv]);
    execFileSync(join(venv, 'bin', 'pip'), ['install', '--quiet', '-r', join(home, 'requirements.txt')]);
    writeFileSync(stamp, wanted);
  }
  return join(venv, 'bin', 'python');
}
function start(): ChildProcess {
  const log = openSync(join(dataDir, 'distances.log'), 'a');
  return spawn(python, [join(home, 'distances.py')], { env: { ...process.env, ...environment }, stdio: ['ignore', log, log] });
}
async function end(signal: NodeJS.Signals): Promise<void> {
  if (bundle.exitCode !== null || bundle.signalCode !== null) return;
  bundle.kill(signal);
  await once(bundle, 'exit');
}
const measured = { origin: 'JFK', destination: 'LAX' };
const get = async (path: string): Promise<string> => (await fetch(base + path)).text();
async function measure(lock: string | undefined, payload: object, key: string = randomUUID()) {
  const response = await fetch(`${base}/commands/MeasureDistance`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify({ aggregateId: lock, payload }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}
const eventsOf = async (commandId: string) =>
  (await readTopic(kafka, topics.events('Distances').name))
    .map(({ headers }) => readMeta(headers))
    .filter((meta) => meta.commandId === commandId);

describe('a bundle in Python', () => {
  it('is found in the registry and among the instances, and takes commands', async () => {
    await until(async () => (await get('/registry/components')).includes('"Distances"'), 60_000);
    await until(async () => (await get('/cluster/instances')).includes('"distances-0"'));
    expect(JSON.parse(await get('/cluster/instances'))).toMatchObject({
      items: expect.arrayContaining([expect.objectContaining({ instance: 'distances-0', bundle: 'distances', state: 'up' })]) as unknown,
    });
    // It is announced before its group has shared the partitions.
    await until(async () => (await measure('first', measured)).status === 200, 60_000);
  }, 150_000);

  it('handles a command and publishes an event, once for each command id', async () => {
    const id = randomUUID();
    const first = await measure('coast', measured, id);
    expect(first).toMatchObject({
      status: 200,
      body: { status: 'applied', version: 1, events: [{ type: 'DistanceMeasured', version: 1 }] },
    });
    expect(first.body['position']).not.toBe('');
    expect(await measure('coast', measured, id)).toMatchObject({
      status: 200,
      body: { status: 'duplicate', version: 1, events: first.body['events'] },
    });
    expect(await measure('coast', measured)).toMatchObject({ status: 200, body: { status: 'applied', version: 2 } });
    const [commandId] = [String(first.body['commandId'])];
    expect(await eventsOf(commandId)).toMatchObject([
      { type: 'DistanceMeasured', source: 'distances/Distances', subject: 'coast', aggregateVersion: 1 },
    ]);
  });

  it('refuses what the domain does not know, and says why', async () => {
    expect(await measure(undefined, { origin: 'JFK', destination: 'XXX' })).toMatchObject({
      status: 422,
      body: { code: 'REJECTED', detail: 'there is no airport XXX' },
    });
  });

  it('goes on after kill -9 in the midst of commands: each of them has one event', async () => {
    const ids = Array.from({ length: 300 }, () => randomUUID());
    const going = ids.map((id, n) => measure(`lock-${n % 7}`, measured, id));
    await Promise.race(going);
    await end('SIGKILL');
    bundle = start();
    const commandIds: string[] = [];
    for (const [n, pending] of going.entries()) {
      let { status, body } = await pending;
      // Nobody knows what became of it: the same key tells.
      while (status === 504) ({ status, body } = await measure(`lock-${n % 7}`, measured, ids[n]));
      expect(status).toBe(200);
      commandIds.push(String(body['commandId']));
    }
    expect(await measure('lock-0', measured)).toMatchObject({ status: 200 });
    const times = new Map<string | undefined, number>();
    for (const { headers } of await readTopic(kafka, topics.events('Distances').name)) {
      const { commandId } = readMeta(headers);
      times.set(commandId, (times.get(commandId) ?? 0) + 1);
    }
    expect(commandIds.map((id) => times.get(id))).toEqual(ids.map(() => 1));
  }, 90_000);

  it('is in telemetry', async () => {
    const sql = `SELECT component_kind, handler, payload_type, outcome FROM spool.spans WHERE bundle = 'distances' AND outcome = 'rejected' FORMAT JSONEachRow`;
    const rows = async (): Promise<string> => (await fetch(clickhouse.url, { method: 'POST', body: sql })).text();
    await until(async () => (await rows()).includes('MeasureDistance'));
    expect(JSON.parse((await rows()).split('\n')[0]!)).toEqual({
      component_kind: 'service',
      handler: 'Distances.MeasureDistance',
      payload_type: 'MeasureDistance',
      outcome: 'rejected',
    });
  });

  it('takes its leave when it is stopped', async () => {
    await end('SIGTERM');
    expect(bundle.exitCode).toBe(0);
    await until(async () => (await get('/cluster/instances')).includes('it left in order'));
    await until(async () => !(await get('/registry/bundles')).includes('"distances-0"'));
  });
});
