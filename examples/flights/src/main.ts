/** Runs the bundle in this process, until it is told to stop. */
import { toSpoolError } from '@spool/schemas';
import { connectPlatform, startBundle } from '@spool/sdk';
import type { Log } from '@spool/streams';
import { join } from 'node:path';
import { flightsBundle } from './bundle.js';
import { progressFile } from './feed/progress.js';
import { officeInFile } from './office.js';
import { flightsSettings } from './settings.js';
import { timetable } from './timetable.js';

const log: Log = (level, message, fields) => {
  console.log(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }));
};

async function main(): Promise<void> {
  const settings = flightsSettings(process.env);
  const { instance, dataDir, flightsPerSecond } = settings;
  const feed = { timetable: timetable(), flightsPerSecond, progress: progressFile(join(dataDir, instance, 'feed')) };
  // Each instance with a feed sends the whole timetable: the first one does.
  const feeds = settings.feed && instance.endsWith('-0');
  const connection = await connectPlatform({ ...settings, clientId: instance, log });
  const office = officeInFile(join(dataDir, instance, 'vouchers.jsonl'));
  const bundle = flightsBundle({ office, bug: settings.bug, ...(feeds ? { feed } : {}) });
  const running = await startBundle(bundle, {
    ...connection,
    instance,
    dataDir,
    log,
    sampling: settings.sampling,
    endpoint: settings.endpoint,
  });
  // Until now a signal ends the process at once, which loses nothing; from now on it finishes what is under way.
  const stopped = untilStopped();
  log('info', 'ready', { instance });
  process.send?.('ready');
  await stopped;
  await running.close();
  await connection.kafka.close();
}

/** Resolves at a signal, or when the supervisor that started this process is gone. */
const untilStopped = (): Promise<void> =>
  new Promise((resolve) => {
    for (const event of ['SIGTERM', 'SIGINT', 'disconnect']) process.once(event, () => resolve());
  });

try {
  await main();
  process.exit(0);
} catch (thrown) {
  const { code, message, entry, stack } = toSpoolError(thrown);
  log('error', message, { code, remedy: entry.remedy, ...(code === 'INTERNAL' ? { stack } : {}) });
  process.exit(1);
}
