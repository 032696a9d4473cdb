/** A bundle that calls the one behind the gateway, straight and over Kafka. Messages in: orders; out: what came of each. */
import { setTimeout as sleep } from 'node:timers/promises';
import { bundle, connectPlatform, invoker, platformSettings, startBundle } from '@spool/sdk';
import { connectDirect } from '@spool/sdk/direct';
import { anyAggregate } from '../../commands/contenders/contender.js';
import { Counter, pad } from '../../commands/contenders/spool.js';
import { closedLoop, type Call } from '../../load.js';
import { Catalogue } from '../http/bundle/shelf.js';
import type { CallerConfig, DirectOrder, Way } from './orders.js';
import type { Asked } from '../http/requests.js';

const findsWithinMs = 30_000;
const { brokers, namespace, schemasUrl, clusterKey, dataDir } = JSON.parse(process.argv[2]!) as CallerConfig;
const settings = platformSettings({ KAFKA_BROKERS: brokers.join(','), SPOOL_NAMESPACE: namespace, SCHEMA_REGISTRY_URL: schemasUrl });
const log = (): void => undefined;
const instance = 'caller-0';
const connection = await connectPlatform({ ...settings, schemaRegistryUrl: schemasUrl, clientId: instance, log });
const components = [invoker('Caller', { sends: [Counter], asks: [Catalogue], run: () => Promise.resolve() })];
const running = await startBundle(bundle({ id: 'caller', version: '1.0.0', components }), {
  ...connection,
  instance,
  dataDir,
  log,
  endpoint: { key: clusterKey },
});
const direct = connectDirect(running);

const calls: Readonly<Record<Way, Readonly<Record<Asked, Call>>>> = {
  direct: {
    command: () => direct.send(Counter, 'Add', anyAggregate(), { n: 1, pad }),
    query: () => direct.ask(Catalogue, 'BooksOn', { shelf: anyAggregate() }),
  },
  kafka: {
    command: () => running.gateway.send(Counter, 'Add', anyAggregate(), { n: 1, pad }),
    query: () => running.gateway.ask(Catalogue, 'BooksOn', { shelf: anyAggregate() }),
  },
};
// It hears of the other bundle, and where that listens, a moment after it is ready.
for (const until = performance.now() + findsWithinMs; ;) {
  try {
    for (const way of Object.values(calls)) for (const call of Object.values(way)) await call();
    break;
  } catch (error) {
    if (performance.now() > until) throw error;
    await sleep(100);
  }
}
process.on('message', ({ way, asked, callers, seconds }: DirectOrder) => {
  closedLoop(calls[way][asked], callers, seconds).then(
    (measured) => process.send!(measured),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.once('disconnect', () => process.exit(0));
process.send!('ready');
