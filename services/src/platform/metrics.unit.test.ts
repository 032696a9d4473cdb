import { readFile } from 'node:fs/promises';
import { SpoolError } from '@spool/schemas';
import type { Gateway } from '@spool/sdk';
import { countedKafka, createMemoryKafka, topicCatalogue } from '@spool/streams';
import { Registry } from 'prom-client';
import { platformMetrics } from './metrics.js';

const topics = topicCatalogue({ namespace: 'acme.' });

describe('/metrics', () => {
  const setUp = async () => {
    const registry = new Registry();
    const { kafka, counts } = countedKafka(createMemoryKafka());
    const load = { inFlight: 3, limit: 10, add: () => undefined };
    const metrics = platformMetrics({ registry, instance: { counts, load, topics, version: '1.2.3' } });
    metrics.follow({
      list: () =>
        Promise.resolve([
          { id: 'bank/Ledger/1', partitions: [{ topic: 'evt.Account', partition: 2, position: '40', lag: 7, lagSeconds: 1.5 }] },
        ] as never),
    });
    return { registry, kafka, metrics };
  };

  it('tells what went through Kafka, what failed, and who is behind', async () => {
    const { registry, kafka } = await setUp();
    await kafka.admin.ensureTopics([topics.events('Account'), topics.deadLetters('bank/Ledger/1')]);
    const producer = await kafka.producer();
    const record = (topic: string) => ({ topic, key: 'a', value: Buffer.from('x') });
    await producer.send(record(topics.deadLetters('bank/Ledger/1').name));
    await producer.sendAll([record(topics.events('Account').name), record(topics.events('Account').name)]);
    const transactional = await kafka.transactionalProducer({ transactionalId: 't' });
    await transactional.commit([record(topics.events('Account').name)]);
    await expect(producer.send(record('nowhere'))).rejects.toThrow();
    const text = await registry.metrics();
    for (const line of [
      `spool_records_written_total{topic="acme.evt.Account"} 3`,
      `spool_dead_letters_total{consumer="bank/Ledger/1"} 1`,
      `spool_producer_errors_total{code="UNKNOWN_TOPIC"} 1`,
      'spool_rebalances_total 0',
      'spool_in_flight 3',
      'spool_in_flight_limit 10',
      `spool_build_info{version="1.2.3",node="${process.version}"} 1`,
      'spool_consumer_position{consumer="bank/Ledger/1",topic="evt.Account",partition="2"} 40',
      'spool_consumer_lag_records{consumer="bank/Ledger/1",topic="evt.Account",partition="2"} 7',
      'spool_consumer_lag_seconds{consumer="bank/Ledger/1",topic="evt.Account",partition="2"} 1.5',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
    await kafka.close();
  });

  it('counts and times commands by outcome, and gives an unknown type no series of its own', async () => {
    const { registry, kafka, metrics } = await setUp();
    const outcomes: Record<string, () => Promise<never>> = {
      Make: () => Promise.resolve({ status: 'applied' } as never),
      Refused: () => Promise.reject(new SpoolError('REJECTED', 'no')),
      Nonsense: () => Promise.reject(new SpoolError('UNKNOWN_COMMAND', 'no')),
    };
    const gateway = metrics.measured({ sendJson: (type: string) => outcomes[type]!() } as unknown as Gateway);
    for (const type of ['Make', 'Make', 'Refused', 'Nonsense']) await gateway.sendJson(type, 'a', {}).catch(() => undefined);
    const text = await registry.metrics();
    expect(text).toContain('spool_commands_total{type="Make",outcome="applied"} 2');
    expect(text).toContain('spool_commands_total{type="Refused",outcome="rejected"} 1');
    expect(text).toContain('spool_commands_total{type="",outcome="unknown_command"} 1');
    expect(text).not.toContain('Nonsense');
    expect(text).toContain('spool_command_duration_seconds_count{outcome="applied"} 2');
    await kafka.close();
  });

  it('tells batches and times of the sink, and the events that it saw', async () => {
    const { registry, kafka, metrics } = await setUp();
    const insert = { table: 'events_index', topic: 'acme.evt.Account', count: 12, columns: [], rows: Buffer.alloc(0), token: '' };
    metrics.inserted(insert, 0.02, true);
    metrics.inserted(insert, 0.2, false);
    const text = await registry.metrics();
    expect(text).toContain('spool_events_appended_total{aggregate="Account"} 12');
    expect(text).toContain('spool_sink_batch_rows_sum{table="events_index"} 12');
    expect(text).toContain('spool_sink_insert_seconds_count{table="events_index",result="error"} 1');
    await kafka.close();
  });

  it('has each of its names in docs/telemetry.md, and no other is there', async () => {
    const { registry, kafka } = await setUp();
    const guide = await readFile(new URL('../../../docs/telemetry.md', import.meta.url), 'utf8');
    const section = /^## Metrics for Prometheus$([^]*?)(?=^## )/m.exec(guide)![1]!;
    const documented = [...section.matchAll(/`(spool_\w+)`/g)].map(([, name]) => name!);
    const own = registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .filter((name) => name.startsWith('spool_'));
    expect([...new Set(documented)].sort()).toEqual([...own, 'spool_http_refused_total', 'spool_http_request_duration_seconds'].sort());
    await kafka.close();
  });

  it('has the names that the dashboard for Grafana asks for', async () => {
    const { registry, kafka } = await setUp();
    const text = await readFile(new URL('../../../infra/grafana/prometheus.json', import.meta.url), 'utf8');
    const { panels } = JSON.parse(text) as { readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[] };
    const asked = panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => expr.match(/\bspool_\w+/g) ?? []));
    const plain = registry.getMetricsAsArray().map(({ name }) => name);
    const timed = [...plain.filter((name) => /_(?:seconds|rows)$/.test(name)), 'spool_http_request_duration_seconds'];
    const known = new Set([...plain, ...timed.flatMap((name) => ['_bucket', '_sum', '_count'].map((suffix) => name + suffix))]);
    expect(asked.length).toBeGreaterThan(12);
    expect(asked.filter((name) => !known.has(name))).toEqual([]);
    await kafka.close();
  });
});
