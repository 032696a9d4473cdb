import { until } from '@spool/schemas/testing';
import { createMemoryKafka, createMemoryStore, topicCatalogue } from '@spool/streams';
import { carried } from '../routed/conformance/transport.js';
import { createFanOut } from '../routed/fan-out.js';
import { toRecord, type Arrival } from './arrival.js';
import { openInbox } from './inbox.js';

const quiet = (): void => undefined;

it('takes each event once and in order, whichever of the two ways it comes, and directly only what comes next', async () => {
  const kafka = createMemoryKafka();
  const topics = topicCatalogue();
  await kafka.admin.ensureTopics([topics.inbox('two')]);
  const topic = topics.inbox('two').name;
  const producer = await kafka.producer();
  const fanOut = createFanOut({ log: quiet });
  const seen: string[] = [];
  fanOut.subscribe({ routing: '#' }, ({ id }) => void seen.push(id));
  const inbox = openInbox({ kafka, topic, run: 'r', store: createMemoryStore(), fanOut, log: quiet });
  await inbox.begin();
  const events = Array.from({ length: 7 }, () => carried('app.data.x.info.made'));
  const arrival = (number: number): Arrival => ({ event: events[number]!, sender: 'one', run: 'a', number, to: undefined });
  const log = (...numbers: number[]): Promise<unknown> => producer.sendAll(numbers.map((number) => toRecord(topic, arrival(number))));
  const take = async (...numbers: number[]): Promise<number> => (await inbox.take('one', numbers.map(arrival))).taken;

  // A run begins in the log.
  expect(await take(1)).toBe(0);
  await log(1);
  await until(() => seen.length === 1);
  expect(await take(3)).toBe(0);
  expect(await take(2, 3)).toBe(2);
  // The answer was lost: whoever sent them writes them to the log too.
  await log(2, 3, 4);
  await until(() => seen.length === 4);
  expect(await take(4, 5, 6)).toBe(3);
  expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((number) => events[number]!.id));
  expect(inbox.received()).toEqual([{ sender: 'one', durable: 6, transient: 0, missing: 0 }]);
  await inbox.close();
  expect(await take(7)).toBe(0);
  await producer.close();
});

it('gives again what a subscriber has left behind', async () => {
  const kafka = createMemoryKafka();
  const topics = topicCatalogue();
  await kafka.admin.ensureTopics([topics.inbox('two')]);
  const topic = topics.inbox('two').name;
  const producer = await kafka.producer();
  const fanOut = createFanOut({ log: quiet, drainMs: 10 });
  let begun = 0;
  const hung = fanOut.subscribe({ routing: '#' }, () => new Promise(() => (begun += 1)));
  const inbox = openInbox({ kafka, topic, run: 'r', store: createMemoryStore(), fanOut, log: quiet });
  await inbox.begin();
  const events = Array.from({ length: 4 }, () => carried('app.data.x.info.made'));
  await producer.sendAll(events.map((event, n) => toRecord(topic, { event, sender: 'one', run: 'a', number: n + 1, to: undefined })));
  await until(() => begun === 1);
  const seen: string[] = [];
  fanOut.subscribe({ routing: '#' }, ({ id }) => void seen.push(id));
  await hung.close();
  // It was at the first of them, and nobody knows how far.
  await until(() => seen.length === 4);
  expect(seen).toEqual(events.map(({ id }) => id));
  await inbox.close();
  await producer.close();
});
