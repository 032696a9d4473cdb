/** `npm start`: installs, builds and runs the platform on this machine; see --help. */
import { parseArgs } from 'node:util';
import { build, checkTools, installPackages } from './setup.mjs';

const usage = `npm start [-- options]

  --no-demo   leave the flights example out
  --reset     delete the data folder first
  --rebuild   delete all but the log first: registry, read models and ClickHouse are built from it anew
  --help      show this

Environment variables:
  SPOOL_DATA_DIR                 folder for all data (.spool)
  SPOOL_HTTP_PORT                gateway and console (8080)
  SPOOL_CLICKHOUSE_PORT          embedded ClickHouse, HTTP (8123)
  SPOOL_SCHEMA_REGISTRY_PORT     schema registry (8081)
  SPOOL_KAFKA_PORT               embedded Kafka (9092)
  SPOOL_KAFKA_CONTROLLER_PORT    embedded Kafka's controller (SPOOL_KAFKA_PORT + 1)
  SPOOL_KAFKA_HEAP_MB            embedded Kafka's largest heap in MiB (512)
  SPOOL_KAFKA_FLUSH_EVERY_WRITE  true: survives a power cut, and is much slower (false)
  KAFKA_BROKERS                  use these brokers and start none: host1:9092,host2:9092
  CLICKHOUSE_URL                 use this ClickHouse server and start none
  SCHEMA_REGISTRY_URL            use this schema registry and start none
All others are passed on to the services and bundles; the README lists theirs.
`;

checkTools({ broker: (process.env.KAFKA_BROKERS ?? '') === '' && !process.argv.includes('--help') });
let options;
try {
  options = parseArgs({
    options: {
      ...{ 'no-demo': { type: 'boolean' }, reset: { type: 'boolean' }, rebuild: { type: 'boolean' } },
      help: { type: 'boolean', short: 'h' },
    },
  }).values;
} catch (error) {
  console.error(`${error.message}\n\n${usage}`);
  process.exit(2);
}
if (options.help) {
  console.log(usage);
  process.exit(0);
}
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(1);
}
// In this process: Ctrl-C then reaches one process, which stops the others in order.
await import('../infra/embedded/dist/main.js');
