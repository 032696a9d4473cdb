import { getPostgreSQLEventStore, pongoSingleStreamProjection, postgreSQLEventStoreConsumer } from '@event-driven-io/emmett-postgresql';
import type { Event } from '@event-driven-io/emmett';
import type { ContenderConfig, Replayed } from './contender.js';

type Departed = Event<'Departed', { destination: string; delay: number; miles: number }>;

/** It takes minutes where the others take seconds: a part of the events says as much. */
const most = 20_000;
const streams = 230;
const perAppend = 200;

/** A new asynchronous projection over all stored events; a second run of its own rebuild handles nothing. */
export async function projectWithEmmett({ postgresUrl, id, records }: ContenderConfig): Promise<Replayed> {
  const store = getPostgreSQLEventStore(postgresUrl);
  await store.schema.migrate();
  const count = Math.min(most, records);
  for (let at = 0; at < count; at += perAppend) {
    const events = Array.from({ length: perAppend }, (): Departed => ({
      type: 'Departed',
      data: { destination: 'ABC', delay: 3, miles: 300 },
    }));
    await store.appendToStream<Departed>(`airport-${(at / perAppend) % streams}`, events);
  }
  const collectionName = id.replaceAll(/\W/g, '_');
  const projection = pongoSingleStreamProjection({
    collectionName,
    canHandle: ['Departed'],
    initialState: () => ({ flights: 0, miles: 0 }),
    evolve: ({ flights, miles }: { flights: number; miles: number }, { data }: Departed) => ({
      flights: flights + 1,
      miles: miles + data.miles,
    }),
  });
  let seen = 0;
  let began = 0;
  let last = 0;
  const consumer = postgreSQLEventStoreConsumer({ connectionString: postgresUrl, stopWhen: { noMessagesLeft: true } });
  consumer.projector<Departed>({
    processorId: id,
    startFrom: 'BEGINNING',
    projection: {
      ...projection,
      async handle(events, context) {
        if (seen === 0) began = performance.now();
        await projection.handle(events, context);
        seen += events.length;
        last = performance.now();
      },
    },
  });
  await consumer.start();
  await consumer.close();
  await store.close();
  if (seen === 0) throw new Error('Emmett handled nothing');
  return { records: seen, seconds: (last - began) / 1000 };
}
