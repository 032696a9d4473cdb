import type { ClickHouse } from '@spool/services/telemetry';
import { partitionKey, readToEnd, type Kafka, type Offset } from '@spool/streams';
import { placeOf, type Poison } from './producers.js';

/** What a partition holds, as the log has it or as ClickHouse has it. */
interface Holding {
  rows: number;
  offsets: number;
  sum: bigint;
  first: string;
  last: string;
}

/** Up to where the sink has stored each partition, by `topic-partition`. */
export type Stored = ReadonlyMap<string, StoredTo>;
export interface StoredTo {
  readonly offset: Offset;
  /**
   * Where the block ends that was announced with the position: it is stored whole or not at all, since whoever announced it may have stopped
   * before it could commit that it is there. Whoever takes the partition over repeats it, and the store drops it.
   */
  readonly announcedTo?: Offset;
}

/**
 * Holds the tables against the log: below the sink's position each record is stored once, and nothing is stored beyond it
 * but the block that it announced.
 * @returns what is wrong
 */
export async function logDifferences(
  kafka: Kafka,
  clickhouse: ClickHouse,
  topics: readonly string[],
  stored: Stored,
): Promise<readonly string[]> {
  const found: string[] = [];
  const tables = await tablesHold(clickhouse);
  for (const topic of topics) {
    for (const { partition } of await kafka.admin.offsets(topic)) {
      const key = partitionKey({ topic, partition });
      const table = tables.get(key) ?? nothing();
      const { offset, announcedTo } = stored.get(key) ?? { offset: 0n as Offset };
      const whole = announcedTo !== undefined && table.last !== '' && BigInt(table.last) >= offset;
      const log = await logHolds(kafka, topic, partition, whole ? announcedTo : offset);
      const wrong = (Object.keys(log) as (keyof Holding)[]).filter((name) => log[name] !== table[name]);
      for (const name of wrong) found.push(`${key}: ${name} ${table[name]} in ClickHouse, ${log[name]} in the log`);
    }
  }
  return found;
}

const nothing = (): Holding => ({ rows: 0, offsets: 0, sum: 0n, first: '', last: '' });

async function logHolds(kafka: Kafka, topic: string, partition: number, end: Offset): Promise<Holding> {
  const holding = nothing();
  await readToEnd({
    kafka,
    partition: { topic, partition },
    from: 'earliest',
    apply(records) {
      for (const { offset } of records) {
        if (offset >= end) continue;
        holding.rows += 1;
        holding.offsets += 1;
        holding.sum += offset;
        if (holding.first === '') holding.first = String(offset);
        holding.last = String(offset);
      }
      return Promise.resolve();
    },
  });
  return holding;
}

/** The view that docs/telemetry.md has for it, and the sum of the offsets, so that no other record stands in for one that is missing. */
async function tablesHold({ database, rows }: ClickHouse): Promise<ReadonlyMap<string, Holding>> {
  const audited = await rows<Record<'topic' | 'rows' | 'offsets' | 'first_offset' | 'last_offset', string> & { partition: number }>(
    `SELECT * FROM ${database}.audit_offsets`,
  );
  const raw = ['spans', 'metrics', 'lag'].map(
    (table) => `SELECT log_topic AS topic, log_partition AS partition, log_offset AS offset FROM ${database}.${table}`,
  );
  const own = ['events_index', 'quarantine'].map((table) => `SELECT topic, partition, offset FROM ${database}.${table}`);
  const sums = await rows<{ topic: string; partition: number; sum: string }>(
    `SELECT topic, partition, toString(sum(toInt128(offset))) AS sum FROM (${[...raw, ...own].join(' UNION ALL ')}) GROUP BY topic, partition`,
  );
  const sumOf = new Map(sums.map((row) => [partitionKey(row), BigInt(row.sum)]));
  return new Map(
    audited.map((row) => [
      partitionKey(row),
      {
        rows: Number(row.rows),
        offsets: Number(row.offsets),
        sum: sumOf.get(partitionKey(row)) ?? 0n,
        first: row.first_offset,
        last: row.last_offset,
      },
    ]),
  );
}

/** Each record that cannot be read is in the quarantine, with its bytes and a reason, and no other. */
export async function quarantineDifferences(
  { database, rows }: ClickHouse,
  poison: ReadonlyMap<string, Poison>,
): Promise<readonly string[]> {
  const kept = await rows<{ topic: string; partition: number; offset: string; code: string; reason: string; bytes: string }>(
    `SELECT topic, partition, offset, code, reason, lower(hex(value)) AS bytes FROM ${database}.quarantine`,
  );
  const seen = new Set<string>();
  const found = kept.flatMap(({ code, reason, bytes, ...at }) => {
    const place = placeOf(at);
    const sent = poison.get(place);
    const twice = seen.has(place);
    seen.add(place);
    if (sent === undefined) return [`quarantine: ${place} can be read: ${code} ${reason}`];
    if (twice) return [`quarantine: ${place} is there twice`];
    const right = sent.code === code && sent.bytes === bytes && reason !== '';
    return right ? [] : [`quarantine: ${place} is there as ${code} '${reason}' with ${bytes}, not as ${sent.code} with ${sent.bytes}`];
  });
  return [...found, ...[...poison.keys()].filter((place) => !seen.has(place)).map((place) => `quarantine: ${place} is missing`)];
}
