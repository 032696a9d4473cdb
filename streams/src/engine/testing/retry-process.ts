import { connectKafka } from '../../kafka/kafkajs/connect.js';
import type { Kafka, TransactionalProducer } from '../../kafka/port.js';
import { openStage, until, type StageNames } from './stage.js';

/** What the parent is told: each commit as it begins, and the end. */
export type RetryNews = { readonly commit: number } | { readonly done: string };

/** Retries all dead letters of a stage, as a process that a test may kill. Its arguments: a broker, and the names of the stage as JSON. */
const [broker, names] = process.argv.slice(2) as [string, string];
const tell = (news: RetryNews): void => void process.send!(news);
let commits = 0;
const telling = (kafka: Kafka): Kafka => ({
  admin: kafka.admin,
  producer: (options) => kafka.producer(options),
  reader: (options) => kafka.reader(options),
  membership: (options) => kafka.membership(options),
  async transactionalProducer(options): Promise<TransactionalProducer> {
    const producer = await kafka.transactionalProducer(options);
    const close = (): Promise<void> => producer.close();
    return {
      transactionalId: producer.transactionalId,
      commit(records) {
        tell({ commit: (commits += 1) });
        return producer.commit(records);
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  },
  close: () => kafka.close(),
  [Symbol.asyncDispose]: () => kafka.close(),
});

const stage = await openStage(telling(await connectKafka({ brokers: [broker], clientId: 'retry' })), JSON.parse(names) as StageNames);
const processor = await stage.start('transactions');
const { answers } = await stage.order(processor, { action: 'retry', letters: 'all', value: undefined });
await until(() => processor.status().epoch >= 0n);
tell({ done: JSON.stringify(answers.map(({ records, failed }) => [records, failed])) });
await stage[Symbol.asyncDispose]();
process.disconnect();
