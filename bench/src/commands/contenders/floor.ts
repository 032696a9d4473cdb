import kafkajs, { type Producer } from 'kafkajs';
import { setTimeout as sleep } from 'node:timers/promises';
import { anyAggregate, type Contender, type ContenderConfig } from './contender.js';

const partitions = 3;
const perSend = 1000;

/**
 * The same hops in the best bare kafkajs loop we know: command -> owner -> one transaction of event and input position (a record) -> reply by a
 * plain idempotent producer. Sends and transactions are grouped without a timer: while one is in flight the next fills. No schema, no validation,
 * no state, no repeated commands, no fencing: what Spool adds is the difference.
 *
 * @param waitMs what gathers for so long goes into one transaction. @default none: what comes while one is in flight goes into the next
 */
export async function startFloor({ brokers, id }: ContenderConfig, waitMs = 0): Promise<Contender> {
  const kafka = new kafkajs.Kafka({
    clientId: 'floor',
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 3, maxRetryTime: 100, factor: 0.2, multiplier: 1.5, retries: 50 },
  });
  const [commands, events, positions, replies] = ['cmd', 'evt', 'pos', 'rep'].map((name) => `${name}-${id}`) as [
    string,
    string,
    string,
    string,
  ];
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [commands, events, positions, replies].map((topic) => ({ topic, numPartitions: topic === replies ? 1 : partitions })),
    waitForLeaders: true,
  });
  await admin.disconnect();

  // The owner.
  const writer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    transactionalId: `floor-${id}`,
    createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
  });
  const replier = kafka.producer({ idempotent: true, maxInFlightRequests: 5, createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  const owner = kafka.consumer({ groupId: `floor-${id}`, maxWaitTimeInMs: 500 });
  await Promise.all([writer.connect(), replier.connect(), owner.connect()]);
  await owner.subscribe({ topic: commands, fromBeginning: true });
  type Message = { readonly key: Buffer | null; readonly value: Buffer | null; readonly headers?: Record<string, unknown> };
  let waiting: Message[] = [];
  const offsets = new Map<number, string>();
  let busy = false;
  const reply = grouped(replier, replies);
  const commit = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    while (waiting.length > 0) {
      if (waitMs > 0) await sleep(waitMs - (performance.now() % waitMs));
      const group = waiting;
      waiting = [];
      const transaction = await writer.transaction();
      for (let at = 0; at < group.length; at += perSend) {
        await transaction.sendBatch({
          topicMessages: [
            { topic: events, messages: group.slice(at, at + perSend).map(({ key, value }) => ({ key, value })) },
            ...(at === 0
              ? [
                  {
                    topic: positions,
                    messages: [...offsets].map(([partition, offset]) => ({ partition, key: String(partition), value: offset })),
                  },
                ]
              : []),
          ],
        });
      }
      await transaction.commit();
      for (const { headers } of group) reply({ key: headers!['cid'] as Buffer, value: 'ok' });
    }
    busy = false;
  };
  await running(owner, ({ batch }) => {
    for (const message of batch.messages) waiting.push(message);
    offsets.set(batch.partition, batch.lastOffset());
    setImmediate(() => void commit());
    return Promise.resolve();
  });

  // The caller.
  const pending = new Map<string, () => void>();
  const listener = kafka.consumer({ groupId: `floor-replies-${id}`, maxWaitTimeInMs: 500 });
  await listener.connect();
  await listener.subscribe({ topic: replies, fromBeginning: true });
  await running(listener, ({ batch }) => {
    for (const { key } of batch.messages) {
      const cid = key!.toString();
      pending.get(cid)?.();
      pending.delete(cid);
    }
    return Promise.resolve();
  });
  const sender = kafka.producer({ idempotent: true, maxInFlightRequests: 5, createPartitioner: kafkajs.Partitioners.DefaultPartitioner });
  await sender.connect();
  const send = grouped(sender, commands);
  const value = Buffer.alloc(200, 'x');
  let next = 0;
  return {
    call: () => {
      const cid = `c${next++}`;
      return new Promise<void>((resolve) => {
        pending.set(cid, resolve);
        send({ key: anyAggregate(), value, headers: { cid } });
      });
    },
    async close() {
      await Promise.all([owner.disconnect(), listener.disconnect(), sender.disconnect(), replier.disconnect(), writer.disconnect()]);
    },
  };
}

type Messages = Parameters<Producer['send']>[0]['messages'];

/** Two requests in flight; what comes meanwhile goes with the next. */
function grouped(producer: Producer, topic: string): (message: Messages[number]) => void {
  const buffer: Messages = [];
  let inFlight = 0;
  const flush = async (): Promise<void> => {
    if (buffer.length === 0 || inFlight >= 2) return;
    const messages = buffer.splice(0, partitions * perSend);
    inFlight += 1;
    await producer.send({ topic, messages });
    inFlight -= 1;
    setImmediate(() => void flush());
  };
  return (message) => {
    buffer.push(message);
    setImmediate(() => void flush());
  };
}

type Consumer = ReturnType<InstanceType<typeof kafkajs.Kafka>['consumer']>;
type EachBatch = NonNullable<NonNullable<Parameters<Consumer['run']>[0]>['eachBatch']>;

async function running(consumer: Consumer, eachBatch: EachBatch): Promise<void> {
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.GROUP_JOIN, () => resolve()));
  await consumer.run({ autoCommit: false, partitionsConsumedConcurrently: partitions, eachBatch });
  await joined;
}
