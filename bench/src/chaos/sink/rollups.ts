import type { ClickHouse } from '@spool/services/telemetry';

interface Column {
  readonly name: string;
  readonly type: string;
}
type Row = Readonly<Record<string, unknown>>;

/**
 * Holds each rollup against a recount: what its own view makes of the table that it follows, as that is now. A chain of rollups is held link by
 * link, down to the raw rows. Views and rollups are asked for by name of the engine, so that a new one is held too.
 */
export async function rollupDifferences(clickhouse: ClickHouse): Promise<readonly string[]> {
  const { database } = clickhouse;
  const tables = await clickhouse.rows<{ name: string; engine: string; create_table_query: string; as_select: string }>(
    `SELECT name, engine, create_table_query, as_select FROM system.tables WHERE database = '${database}'`,
  );
  const rollups = new Set(tables.filter(({ engine }) => /(Aggregating|Summing)MergeTree$/.test(engine)).map(({ name }) => name));
  const found: string[] = [];
  const held = new Set<string>();
  for (const { name, as_select, create_table_query } of tables.filter(({ engine }) => engine === 'MaterializedView')) {
    const target = / TO `?\w+`?\.`?(\w+)`?/.exec(create_table_query)?.[1];
    if (target === undefined || !rollups.has(target)) {
      found.push(`${name} fills ${target ?? 'a table without a name'}, of which nobody knows how to count it again`);
      continue;
    }
    if (held.has(target)) found.push(`${target} is filled by more than one view, and cannot be counted again`);
    held.add(target);
    found.push(...(await differencesOf(clickhouse, target, as_select)));
  }
  const idle = [...rollups].filter((name) => !held.has(name)).map((name) => `${name} is filled by no view`);
  if (held.size === 0) found.push('there is no rollup');
  return [...found, ...idle];
}

async function differencesOf(clickhouse: ClickHouse, target: string, recount: string): Promise<readonly string[]> {
  const { database } = clickhouse;
  // A column that ClickHouse computes follows from the others.
  const columns = await clickhouse.rows<Column>(
    `SELECT name, type FROM system.columns WHERE database = '${database}' AND table = '${target}' AND default_kind != 'MATERIALIZED'`,
  );
  const keys = columns.filter(({ type }) => !/^(Simple)?AggregateFunction\(/.test(type));
  // A view may give another type than its rollup keeps.
  const key = `toString(tuple(${keys.map(({ name, type }) => `CAST(t.\`${name}\`, '${type.replaceAll("'", "\\'")}')`).join(', ')}))`;
  const grouped = (source: string): Promise<readonly Row[]> =>
    clickhouse.rows<Row>(`SELECT ${key} AS \`$key\`, ${columns.flatMap(merged).join(', ')} FROM ${source} AS t GROUP BY \`$key\``);
  const [stored, counted] = [byKey(await grouped(`${database}.${target}`)), byKey(await grouped(`(${recount})`))];
  const all = [...new Set([...stored.keys(), ...counted.keys()])];
  return all.flatMap((key) => rowDifferences(`${target} ${key}`, stored.get(key), counted.get(key)));
}

const byKey = (rows: readonly Row[]): ReadonlyMap<string, Row> => new Map(rows.map((row) => [String(row['$key']), row]));

/** What makes one value of a column of states. Bytes of a digest depend on the order of merges: it is held by the weight that is in it. */
function merged({ name, type }: Column): readonly string[] {
  const simple = /^SimpleAggregateFunction\((\w+),/.exec(type);
  if (simple !== null) {
    const fold = `${simple[1]!}(t.\`${name}\`)`;
    // What is collected has no order.
    return [`${simple[1]!.startsWith('groupUniqArray') ? `toString(arraySort(${fold}))` : fold} AS \`$${name}\``];
  }
  const state = /^AggregateFunction\((\w+)(\([^()]*\))?/.exec(type);
  if (state === null) return [];
  const [, fold, parameters = ''] = state;
  if (fold!.startsWith('quantile')) return [`hex(CAST(${fold!}MergeState${parameters}(t.\`${name}\`), 'String')) AS \`$${name}#digest\``];
  return [`toString(${fold!}Merge${parameters}(t.\`${name}\`)) AS \`$${name}\``];
}

function rowDifferences(where: string, stored: Row | undefined, counted: Row | undefined): readonly string[] {
  if (stored === undefined || counted === undefined) return [`${where}: ${stored === undefined ? 'is missing' : 'follows from no row'}`];
  return Object.keys(stored).flatMap((name) => {
    const [is, should] = [valueOf(name, stored[name]), valueOf(name, counted[name])];
    return isSame(is, should) ? [] : [`${where}: ${name.slice(1)} is ${String(is)}, a recount says ${String(should)}`];
  });
}

const valueOf = (name: string, value: unknown): unknown => (name.endsWith('#digest') ? digestWeight(String(value)) : value);

/** Sums of fractions depend on their order. */
const isSame = (a: unknown, b: unknown): boolean =>
  a === b || (typeof a === 'number' && typeof b === 'number' && Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b)));

/** How much was put into a t-digest: a count of centroids, then each as mean and weight, floats of 32 bits. */
function digestWeight(hex: string): number {
  const bytes = Buffer.from(hex, 'hex');
  let at = 0;
  while (bytes[at]! >= 0x80) at += 1;
  let weight = 0;
  for (at += 1; at < bytes.length; at += 8) weight += bytes.readFloatLE(at + 4);
  return weight;
}
