import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { clickHouseCommand, freePorts, superviseChild, type SupervisedChild } from '@spool/embedded';
import { nodeCommand, once } from '../../engine/start.js';
import { requests, type Asked } from './requests.js';

export interface BenchedPlatform extends AsyncDisposable {
  /** Of the gateway. */
  readonly port: number;
  readonly schemasUrl: string;
  readonly clusterKey: string;
  /** What it answers with; each must be a 200. */
  readonly bodies: Readonly<Record<Asked, string>>;
}

const platformMain = fileURLToPath(new URL('../../../../services/dist/platform/main.js', import.meta.url));
const bundleMain = fileURLToPath(new URL('bundle/main.js', import.meta.url));
const password = 'writer';
const clusterKey = 'the same in all of these processes';
const answersWithinMs = 60_000;

/** The platform as `npm start` runs it, on a broker that is there: ClickHouse, the services and a bundle, a process each. @param profileDir takes a CPU profile of the gateway */
export async function startBenchedPlatform(
  brokers: readonly string[],
  namespace: string,
  dataDir: string,
  profileDir?: string,
): Promise<BenchedPlatform> {
  const [port, schemasPort, clickhousePort] = await freePorts(3);
  const schemasUrl = `http://127.0.0.1:${schemasPort}`;
  const opened: SupervisedChild[] = [];
  const close = async (): Promise<void> => {
    for (const child of opened.splice(0).reverse()) await child.close();
  };
  const env = { ...process.env, KAFKA_BROKERS: brokers.join(','), SPOOL_NAMESPACE: namespace, SPOOL_CLUSTER_KEY: clusterKey };
  const run = async (instance: string, args: readonly string[], own: Readonly<Record<string, string>>, profile?: string): Promise<void> => {
    const folder = join(dataDir, instance);
    await mkdir(folder, { recursive: true });
    opened.push(
      await superviseChild({
        ...nodeCommand(args, profile),
        ...{ name: instance, logFile: join(dataDir, `${instance}.log`), restart: once },
        env: { ...env, SPOOL_INSTANCE: instance, SPOOL_DATA_DIR: folder, ...own },
      }),
    );
  };
  try {
    const clickhouse = clickHouseCommand({ dataDir: join(dataDir, 'clickhouse'), port: clickhousePort!, writerPassword: password });
    opened.push(await superviseChild({ ...clickhouse, name: 'ClickHouse', ready: 'ipc', restart: once }));
    const reached = { CLICKHOUSE_URL: `http://127.0.0.1:${clickhousePort}`, SPOOL_CLICKHOUSE_WRITER_PASSWORD: password };
    const ports = { SPOOL_HTTP_PORT: String(port), SPOOL_SCHEMA_REGISTRY_PORT: String(schemasPort) };
    await run('platform-0', [platformMain], { ...reached, ...ports }, profileDir);
    await run('bench-0', [bundleMain], { SCHEMA_REGISTRY_URL: schemasUrl });
    const bodies = { command: await answered(port!, 'command'), query: await answered(port!, 'query') };
    return { port: port!, schemasUrl, clusterKey, bodies, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The gateway hears of a bundle a moment after it is ready. */
async function answered(port: number, asked: Asked): Promise<string> {
  const { path, body } = requests[asked];
  for (const until = performance.now() + answersWithinMs; ;) {
    const headers = { 'Content-Type': 'application/json' };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', headers, body: body() });
    const text = await response.text();
    if (response.status === 200) return text;
    if (performance.now() > until) throw new Error(`${path} is answered ${response.status} ${text}`);
    await sleep(100);
  }
}
