import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnClickHouse } from '@spool/embedded';
import { migrate, openClickHouse } from '@spool/services/telemetry';
import { median, quantile, type Row, type Table } from '../report.js';
import { fillTables } from './fill.js';

export interface ViewsOptions {
  readonly spans: number;
  /** Of each query. */
  readonly runs: number;
  readonly progress: (line: string) => void;
}

const aimMs = 100;
/** A query is not repeated beyond this. */
const longestMs = 5000;

/** Each example of docs/telemetry.md, as printed, on so many spans. */
export async function benchViews({ spans, runs, progress }: ViewsOptions): Promise<readonly Table[]> {
  const folder = await mkdtemp(join(tmpdir(), 'spool-bench-views-'));
  try {
    await using server = await spawnClickHouse({ dataDir: join(folder, 'clickhouse') });
    await using clickhouse = openClickHouse({ url: server.url, ...server.writer });
    await migrate({ clickhouse, owner: 'bench' });
    await fillTables(clickhouse, spans, progress);
    await using analyst = openClickHouse({ url: server.url, ...server.reader });
    const rows: Row[] = [];
    for (const sql of await examples()) {
      const found = (await analyst.rows(sql)).length;
      const taken: number[] = [];
      const began = performance.now();
      for (let run = 0; run < runs && (run < 3 || performance.now() - began < longestMs); run++) {
        const sent = performance.now();
        await analyst.rows(sql);
        taken.push(performance.now() - sent);
      }
      const label = `${nameOf(sql)}, ${found} rows`;
      progress(`views: ${label}: p50 ${median(taken).toFixed(0)} ms`);
      const p95 = quantile(
        taken.toSorted((a, b) => a - b),
        0.95,
      );
      rows.push(
        { label, metric: 'p50', value: median(taken), unit: 'ms', ratio: null },
        { label, metric: 'p95', value: p95, unit: p95 > aimMs ? `ms, above ${aimMs}` : 'ms', ratio: null },
      );
    }
    return [{ name: `Examples of docs/telemetry.md on ${spans.toLocaleString('en')} spans of a week, over HTTP`, rows }];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function examples(): Promise<readonly string[]> {
  const guide = await readFile(new URL('../../../docs/telemetry.md', import.meta.url), 'utf8');
  return [...guide.matchAll(/^```sql\n([^]*?)^```/gm)].map(([, sql]) => sql!.trim());
}

const nameOf = (sql: string): string => {
  const [, table, column] = /FROM spool\.(\w+)(?:\s+WHERE (\w+))?/.exec(sql)!;
  return column === undefined ? table! : `${table} by ${column}`;
};
