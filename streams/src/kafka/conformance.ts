import { describeAdmin } from './conformance/admin.js';
import { describeMembership } from './conformance/membership.js';
import { describeProducer } from './conformance/producer.js';
import { describeReader } from './conformance/reader.js';
import { describeTransactionalProducer } from './conformance/transactions.js';
import type { Kafka } from './port.js';

/** What every adapter of the port does. `open` gives a client of a cluster that is empty or used by others meanwhile. */
export function describeKafka(name: string, open: () => Promise<Kafka>): void {
  describe(`Kafka port: ${name}`, () => {
    let kafka: Kafka;
    beforeEach(async () => {
      kafka = await open();
    });
    afterEach(async () => {
      await kafka.close();
    });
    describeProducer(() => kafka);
    describeTransactionalProducer(() => kafka);
    describeReader(() => kafka);
    describeMembership(() => kafka);
    describeAdmin(() => kafka);
  });
}
