/** `npm run chaos -- engine`: starts a broker, does its worst, and says what it found. Ends with 1 when something is lost, doubled or wrong. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startKafka } from '@spool/embedded';
import { chaosEngine } from './engine.js';
import { tamperings } from './instance/tampering.js';

const usage = `npm run chaos -- engine [--seed n] [--kills 50] [--records 200000] [--tamper ${tamperings.join('|')}] [--quick]`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' },
    kills: { type: 'string' },
    records: { type: 'string' },
    tamper: { type: 'string' },
    quick: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
const quick = values.quick === true;
const number = (given: string | undefined, otherwise: number): number => (given === undefined ? otherwise : Number(given));
const seed = number(values.seed, Date.now() % 1_000_000);
const kills = number(values.kills, quick ? 5 : 50);
const records = number(values.records, quick ? 20_000 : 200_000);
const tampering = tamperings.find((name) => name === values.tamper);
const isBad = ![seed, kills, records].every((n) => Number.isInteger(n) && n >= 0) || (values.tamper !== undefined && tampering === undefined);
if (values.help === true || positionals.join() !== 'engine' || isBad) {
  console.error(usage);
  process.exit(values.help === true ? 0 : 2);
}
const progress = (line: string): void => console.error(line);
const dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-'));
const kafka = await startKafka({ dataDir: join(dataDir, 'kafka'), log: progress });
try {
  console.log(`seed ${seed}: ${kills} kills while ${records} records are counted`);
  const began = performance.now();
  const found = await chaosEngine({
    brokers: kafka.bootstrap,
    dataDir,
    seed,
    kills,
    records,
    keys: 1000,
    deadlineMs: 120_000 + kills * 10_000,
    ...(tampering === undefined ? {} : { tampering }),
    progress,
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `every one of ${records} records was counted once, and output, changelog and stores agree (${seconds} s)`
      : `${found.length} differences (${seconds} s); again with --seed ${seed}`,
  );
  process.exitCode = found.length === 0 ? 0 : 1;
} finally {
  await kafka.close();
  await rm(dataDir, { recursive: true, force: true });
}
