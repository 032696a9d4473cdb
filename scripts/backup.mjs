/**
 * `npm run backup` and `npm run restore`: installs, builds, and writes topics to files, or files to topics; `npm run backup -- --help` says more.
 * A restore without KAFKA_BROKERS starts the broker of this machine's platform for as long as it takes.
 */
import { build, checkTools, installPackages } from './setup.mjs';

const ownBroker = (process.env.KAFKA_BROKERS ?? '') === '' && process.argv.some((arg) => arg === '--in' || arg.startsWith('--in='));
checkTools({ broker: ownBroker });
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(2);
}
let broker;
try {
  if (ownBroker) {
    const { platformConfig, startBrokerAlone } = await import('../infra/embedded/dist/index.js');
    broker = await startBrokerAlone(platformConfig(process.env), console.log);
    process.env.KAFKA_BROKERS = broker.address;
  }
  await import('../services/dist/backup/main.js');
} catch (error) {
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 2;
} finally {
  await broker?.close();
}
