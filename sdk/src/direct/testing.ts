import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { createMemoryCluster, topicCatalogue } from '@spool/streams';
import type { Bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { register } from '../testing/start-in-memory.js';
import type { Place } from './discovery.js';

/** Two instances of one bundle on a Kafka in memory. */
export interface Two extends AsyncDisposable {
  readonly running: readonly [RunningBundle, RunningBundle];
  /** Where they take calls. */
  places(): readonly [Place, Place];
}

export async function startTwo(bundle: Bundle): Promise<Two> {
  const kafka = createMemoryCluster({ clock: Date.now }).connect();
  const codec = createCodec({ registry: createMemoryRegistry() });
  const topics = topicCatalogue({ partitions: 1 });
  const dataDir = mkdtempSync(join(tmpdir(), 'spool-direct-'));
  await register(bundle, kafka, codec, topics, Date.now());
  const start = (instance: string): Promise<RunningBundle> =>
    startBundle(bundle, { kafka, codec, topics, instance, dataDir, log: () => undefined });
  const [a, b] = [await start(`${bundle.id}-0`), await start(`${bundle.id}-1`)];
  const placeOf = ({ instance, endpoint }: RunningBundle): Place => ({ instance: instance.id, url: endpoint.url! });
  return {
    running: [a, b],
    places: () => [placeOf(a), placeOf(b)],
    async [Symbol.asyncDispose]() {
      await b.close();
      await a.close();
      await kafka.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** A way to an endpoint that can be cut. */
export interface Wire extends AsyncDisposable {
  readonly url: string;
  /** Connections that were made over it. */
  readonly connections: number;
  /** Breaks all connections; new ones are made. */
  cut(): void;
  /** What comes back from now on is held, as if the other side had fallen silent. */
  hold(): void;
}

export async function wireTo(to: string): Promise<Wire> {
  const sockets = new Set<Socket>();
  let connections = 0;
  let held = false;
  const server = createServer((near) => {
    connections += 1;
    const far = connect(Number(new URL(to).port), '127.0.0.1');
    for (const each of [near, far]) {
      sockets.add(each);
      each.on('error', () => undefined);
      each.on('close', () => {
        sockets.delete(each);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (chunk) => far.write(chunk));
    far.on('data', (chunk) => {
      if (!held) near.write(chunk);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    held = false;
    for (const each of sockets) each.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return connections;
    },
    cut,
    hold: () => void (held = true),
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
