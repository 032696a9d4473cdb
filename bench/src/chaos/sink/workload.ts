import { createHash } from 'node:crypto';
import { doc, MetricSchema, record, SpanSchema, type Codec, type Metric, type Span } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';

const ThingMade = record('acme.ThingMade', { size: 'int', label: doc('Any text.', 'string') }, { doc: 'A thing was made.' });

/** Random as ids are, and the same for the same number. */
const hexOf = (index: number, length: number): string => createHash('md5').update(String(index)).digest('hex').slice(0, length);

/** A span like any other; what it says follows from its number. @param startedAt microseconds since the epoch */
export const spanOf = (index: number, startedAt: number): Span => ({
  traceId: hexOf(Math.floor(index / 4), 32),
  spanId: hexOf(index, 16),
  parentSpanId: index % 4 === 0 ? null : hexOf(index - 1, 16),
  messageKind: index % 2 === 0 ? 'command' : 'event',
  startedAt,
  queueUs: 100 + (index % 1000),
  handleUs: 50 + (index % 300),
  commitUs: 1000 + (index % 5000),
  totalUs: 1050 + (index % 5300),
  status: index % 50 === 49 ? 'error' : 'ok',
  outcome: index % 2 === 0 ? 'applied' : null,
  errorClass: index % 50 === 49 ? 'UNAVAILABLE' : null,
  bundle: 'bank',
  version: '1.0.0',
  instance: `bank-${index % 3}`,
  component: ['Account', 'Ledger', 'Transfer', 'Statement'][index % 4]!,
  componentKind: index % 2 === 0 ? 'aggregate' : 'projector',
  handler: ['Account.Withdraw', 'Ledger.Entered', 'Transfer.Begin', 'Statement.Withdrawn'][index % 4]!,
  payloadType: ['bank.Withdraw', 'bank.Entered', 'bank.Begin', 'bank.Withdrawn'][index % 4]!,
  aggregateId: `account-${index % 10_007}`,
  topic: index % 2 === 0 ? 'cmd.Account' : 'evt.Account',
  partition: index % 3,
  offset: index,
  messageId: hexOf(index, 32),
  correlationId: hexOf(Math.floor(index / 4), 32),
  causationId: null,
  replayId: null,
  source: index % 4 === 0 ? 'gateway' : 'bank/Account',
  weight: 1 + (index % 3),
});

const metricOf = (index: number): Metric => ({
  instance: `bank-${index % 3}`,
  bundle: 'bank',
  version: '1.0.0',
  name: ['process.memory.rss', 'spool.telemetry.spans', 'process.cpu'][index % 3]!,
  value: index,
  unit: '1',
  attributes: { state: index % 2 === 0 ? 'used' : 'free' },
  at: Date.now(),
});

/** What no sink can read, and under which code it must be kept. */
const poisons: readonly ((good: Buffer) => { readonly value: Buffer | null; readonly code: string })[] = [
  () => ({ value: Buffer.from('no Avro at all'), code: 'RECORD_UNREADABLE' }),
  () => ({ value: Buffer.from([0, 0, 0, 99, 99, 1, 2]), code: 'SCHEMA_UNKNOWN' }),
  (good) => ({ value: good.subarray(0, good.length - 3), code: 'RECORD_UNREADABLE' }),
  () => ({ value: null, code: 'RECORD_UNREADABLE' }),
];
const poisonEvery = 997;

export interface Load {
  readonly topic: string;
  /** Of all records. */
  readonly share: number;
  readonly inTransactions: boolean;
  /** The record of a number, and its code where it cannot be read. */
  record(index: number): { readonly key: string; readonly value: Buffer | null; readonly code?: string };
}

/** What four producers write: spans twice, metrics, and domain events in transactions. */
export async function loadsOf(codec: Codec, topics: TopicCatalogue): Promise<readonly Load[]> {
  const events = topics.events('Thing').name;
  const span = await codec.encoder(topics.spans.name, SpanSchema);
  const metric = await codec.encoder(topics.metrics.name, MetricSchema);
  const thing = await codec.encoder(events, ThingMade);
  const load = (topic: string, share: number, inTransactions: boolean, encode: (index: number) => Buffer): Load => ({
    topic,
    share,
    inTransactions,
    record(index) {
      const key = `key-${index % 10_007}`;
      const value = encode(index);
      if (index % poisonEvery !== poisonEvery - 1) return { key, value };
      return { key, ...poisons[Math.floor(index / poisonEvery) % poisons.length]!(value) };
    },
  });
  const spans = (from: number) => (index: number) => span.encode(spanOf(from + index, Date.now() * 1000));
  return [
    load(topics.spans.name, 0.4, false, spans(0)),
    load(topics.spans.name, 0.4, false, spans(1e9)),
    load(topics.metrics.name, 0.15, false, (index) => metric.encode(metricOf(index))),
    load(events, 0.05, true, (index) => thing.encode({ size: index, label: 'red "green" ä' })),
  ];
}
