import { openClickHouse, type ClickHouse } from '@spool/services/telemetry';
import { usages, type Measured, type Stage } from './contenders.js';

export const formats = ['JSONEachRow', 'RowBinary', 'Native'] as const;
export type Format = (typeof formats)[number];

/** As large as the sink's largest, and as many at a time as it inserts: one for each partition. */
const blockRows = 50_000;

/** Copies what is in one database into another with plain inserts. The bodies are made before: only what ClickHouse does with them is measured. */
export async function insertAgain(stage: Stage, format: Format, from: string, to: string): Promise<Measured> {
  const { server, topics } = stage;
  await using clickhouse = openClickHouse({ url: server.url, ...server.writer, database: from });
  const lanes = await Promise.all(
    Array.from({ length: topics.spans.partitions }, (_, partition) => bodiesOf(stage, clickhouse, format, partition)),
  );
  const rows = lanes.flat().reduce((sum, body) => sum + body.rows, 0);
  const before = await usages(stage, undefined);
  const began = performance.now();
  await Promise.all(
    lanes.map(async (bodies) => {
      for (const { bytes } of bodies) await post(stage, `INSERT INTO ${to}.spans FORMAT ${format}`, bytes);
    }),
  );
  const seconds = (performance.now() - began) / 1000;
  const after = await usages(stage, undefined);
  return { perSecond: rows / seconds, cpu: { sink: 0, clickhouse: ((after.clickhouse - before.clickhouse) / rows) * 1e6 } };
}

interface Body {
  readonly bytes: Buffer;
  readonly rows: number;
}

async function bodiesOf(stage: Stage, { database, rows }: ClickHouse, format: Format, partition: number): Promise<readonly Body[]> {
  const [row] = await rows<{ n: string }>(`SELECT count() AS n FROM ${database}.spans WHERE log_partition = ${partition}`);
  const bodies: Body[] = [];
  for (let first = 0; first < Number(row!.n); first += blockRows) {
    const block = `log_partition = ${partition} AND log_offset >= ${first} AND log_offset < ${first + blockRows}`;
    const bytes = await post(stage, `SELECT * FROM ${database}.spans WHERE ${block} ORDER BY log_offset FORMAT ${format}`);
    bodies.push({ bytes, rows: Math.min(blockRows, Number(row!.n) - first) });
  }
  return bodies;
}

/** As the sink inserts: one block each. */
const settings = {
  async_insert: 0,
  max_insert_block_size: 10_000_000,
  min_insert_block_size_rows: 10_000_000,
  min_insert_block_size_bytes: 1e9,
};

async function post({ server }: Stage, query: string, body?: Buffer): Promise<Buffer> {
  const url = new URL(server.url);
  url.search = new URLSearchParams({ query, ...(body === undefined ? {} : stringsOf(settings)) }).toString();
  const authorization = `Basic ${Buffer.from(`${server.writer.username}:${server.writer.password}`).toString('base64')}`;
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization },
    ...(body === undefined ? {} : { body: new Uint8Array(body) }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  if (!response.ok) throw new Error(`${query.slice(0, 80)}: ${bytes.toString().slice(0, 500)}`);
  return bytes;
}

const stringsOf = (numbers: Readonly<Record<string, number>>): Record<string, string> =>
  Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, String(value)]));
