import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile, type Row, type Table } from '../report.js';
import { next, start } from './processes.js';
import type { ClientsConfig, Fire, Kind, Received, ServerConfig } from './protocol.js';

export interface FanoutOptions {
  readonly brokers: readonly string[];
  readonly clients: number;
  /** One after another: the next one when the last client has the one before. */
  readonly events: number;
  readonly progress: (line: string) => void;
}

const warmUp = 5;

/** From one event that is produced to when the clients of one gateway have it, against the same bytes written to bare connections. */
export async function benchFanout(options: FanoutOptions): Promise<readonly Table[]> {
  const { brokers, events, progress } = options;
  const limit = openFiles();
  // The server and the clients are a process each.
  const clients = Math.min(options.clients, limit - 500);
  progress(
    `${clients} clients; a process may have ${limit} files open${clients < options.clients ? `: fewer than the ${options.clients} that were asked for` : ''}`,
  );
  const rows: Row[] = [];
  for (const kind of ['SSE', 'WebSocket'] as const) {
    const spool = await take({ name: 'spool', brokers }, kind, clients, events, 0);
    const floor = await take({ name: 'floor', brokers }, kind, clients, events, spool.bytes);
    for (const [metric, of, q] of [
      ['each client p50', 'each', 0.5],
      ['each client p99', 'each', 0.99],
      ['last client p50', 'last', 0.5],
      ['last client p99', 'last', 0.99],
    ] as const) {
      const [value, bare] = [spool, floor].map((taken) => quantile(taken[of], q)) as [number, number];
      rows.push({ label: `${clients} ${kind}`, metric, value, unit: 'ms', ratio: value / bare });
      progress(`${kind} ${metric}: ${value.toFixed(1)} ms, floor ${bare.toFixed(1)} ms, ${spool.bytes} bytes`);
    }
    rows.push({
      label: `${clients} ${kind}`,
      metric: 'server, resident',
      value: spool.rssMb,
      unit: 'MB',
      ratio: spool.rssMb / floor.rssMb,
    });
  }
  return [{ name: `One event to ${clients} clients on loopback, from its produce on (floor: bare writes, without Kafka)`, rows }];
}

interface Taken {
  /** Milliseconds, sorted: of each client and event, and of the last client of each event. */
  readonly each: readonly number[];
  readonly last: readonly number[];
  readonly bytes: number;
  readonly rssMb: number;
}

async function take(config: ServerConfig, kind: Kind, count: number, events: number, bytes: number): Promise<Taken> {
  const server = start('server.js', config);
  try {
    const port = await next<number>(server);
    const clients = start('clients.js', { kind, port, count } satisfies ClientsConfig);
    try {
      await next(clients);
      const each: number[] = [];
      const last: number[] = [];
      let length = bytes;
      for (let event = 0; event < warmUp + events; event++) {
        const [fired, received] = [next<number>(server), next<Received>(clients)];
        server.send({ bytes: length } satisfies Fire);
        const [at, all] = await Promise.all([fired, received]);
        length = bytes === 0 ? all.bytes : bytes;
        if (event >= warmUp) {
          const times = [...all.at].map((time) => time - at);
          each.push(...times);
          last.push(Math.max(...times));
        }
        await sleep(20);
      }
      return { each: each.sort(ascending), last: last.sort(ascending), bytes: length, rssMb: await residentMb(server) };
    } finally {
      clients.kill('SIGKILL');
    }
  } finally {
    server.kill('SIGKILL');
  }
}

const ascending = (a: number, b: number): number => a - b;

/** Of one process; the soft limit, which Node has raised to the hard one. */
function openFiles(): number {
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft: number | string } } };
  return Number(userLimits?.open_files?.soft ?? Infinity) || Infinity;
}
async function residentMb({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
