import { join } from 'node:path';
import { createCodec, createHttpRegistry, messageHeaders } from '@spool/schemas';
import { topicCatalogue, type Kafka, type ProducerRecord } from '@spool/streams';
import { Airport, added, type AirportRow } from './airports.js';
import { departures } from './flights.js';

/** The events of all airports, in one topic. */
export interface Log {
  readonly topic: string;
  readonly records: number;
  /** What a read model of all of them must hold. */
  readonly expected: ReadonlyMap<string, AirportRow>;
  /** Writes events up to so many in all; the data set begins anew as often as need be. */
  extend(records: number): Promise<void>;
}

interface LogOptions {
  readonly kafka: Kafka;
  readonly schemaRegistryUrl: string;
  readonly namespace: string;
  readonly partitions: number;
  readonly dataDir: string;
}

const perSend = 10_000;

export async function openLog({ kafka, schemaRegistryUrl, namespace, partitions, dataDir }: LogOptions): Promise<Log> {
  const events = topicCatalogue({ namespace, partitions }).events(Airport.name);
  await kafka.admin.ensureTopics([events]);
  const encoder = await createCodec({ registry: createHttpRegistry({ url: schemaRegistryUrl }) }).encoder(
    events.name,
    Airport.events.Departed,
  );
  const expected = new Map<string, AirportRow>();
  let records = 0;
  return {
    topic: events.name,
    get records() {
      return records;
    },
    expected,
    async extend(until) {
      await using producer = await kafka.producer();
      while (records < until) {
        let batch: ProducerRecord[] = [];
        const flush = async (): Promise<void> => {
          await producer.sendAll(batch);
          batch = [];
        };
        for await (const { origin, ...departure } of departures(join(dataDir, `clickhouse-${namespace}${records}`), until - records)) {
          const row = added(expected.get(origin), departure.delay, departure.miles);
          expected.set(origin, row);
          records += 1;
          const commandId = `departure-${records}`;
          const headers = messageHeaders({
            ...{ id: `${commandId}/0`, type: 'Departed', source: 'bench/Airport', time: departure.at, subject: origin },
            ...{ correlationId: commandId, causationId: commandId, commandId, aggregateVersion: row.flights, writerEpoch: 1 },
          });
          batch.push({ topic: events.name, key: origin, value: encoder.encode(departure), headers });
          if (batch.length === perSend) await flush();
        }
        await flush();
      }
    },
  };
}
