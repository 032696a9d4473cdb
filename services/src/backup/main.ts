import { parseArgs } from 'node:util';
import { createHttpRegistry, SpoolError, toSpoolError } from '@spool/schemas';
import { platformSettings } from '@spool/sdk';
import { connectKafka, type Kafka } from '@spool/streams';
import { backUp, restore, verifyBackUp } from './index.js';
import { savedPartitions } from './verify.js';

const usage = `npm run backup -- --out <folder> [--topics <name>[,<beginning>*…]] [--wait <seconds>]
npm run backup -- --verify <folder>
npm run restore -- --in <folder>

  --out <folder>     writes the committed records of the platform's topics there, and a manifest; the platform may go on
  --topics <names>   these alone; the default is all of the namespace that cannot be made anew
  --wait <seconds>   how long to look for a moment without a transaction (30)
  --verify <folder>  recomputes every hash and counts every record, and names each file that differs; needs no Kafka
  --in <folder>      writes a back-up to a cluster whose topics are empty; stopped, the same command goes on
  --help             show this

Ends with 0 when it is done, 1 when a back-up is damaged, 2 when it could not be done.

Environment variables:
  KAFKA_BROKERS (127.0.0.1:9092) and the other KAFKA_ variables, SPOOL_NAMESPACE: as the services have them
  SCHEMA_REGISTRY_URL: for a restore, where the schemas are kept elsewhere than in the back-up
`;

process.exitCode = await main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = toSpoolError(thrown);
  console.error(`${error.code}: ${error.message}\n${error.entry.remedy}`);
  return error.code === 'BACKUP_DAMAGED' ? 1 : 2;
});

async function main(args: readonly string[]): Promise<number> {
  const { out, in: from, verify, topics, wait, help } = options(args);
  if (help === true || [out, from, verify].filter((folder) => folder !== undefined).length !== 1) {
    console.log(usage);
    return help === true ? 0 : 2;
  }
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort(new SpoolError('UNAVAILABLE', 'stopped before the end')));
  const shared = { signal: stop.signal, onTopic: ({ name }: { name: string }) => console.log(name) };
  if (verify !== undefined) {
    const { manifest, problems } = await verifyBackUp(verify, stop.signal);
    for (const problem of problems) console.log(problem);
    console.log(problems.length === 0 ? `All is well: ${sumOf(manifest)}.` : `${problems.length} files differ.`);
    return problems.length === 0 ? 0 : 1;
  }
  const settings = platformSettings({ KAFKA_BROKERS: '127.0.0.1:9092', ...process.env });
  const log = (level: string, message: string, fields?: object): void =>
    level === 'info' || level === 'debug' ? undefined : console.error(message, fields ?? '');
  const kafka: Kafka = await connectKafka({ ...settings.kafka, clientId: 'spool-backup', log });
  try {
    if (out !== undefined) {
      const cutWithinMs = Number(wait ?? 30) * 1000;
      if (!(cutWithinMs >= 0)) throw new SpoolError('INVALID_CONFIG', `--wait ${wait} is not a number of seconds`);
      const names = topics?.split(',') ?? [];
      const { namespace } = settings.topics;
      const manifest = await backUp({ ...shared, kafka, folder: out, namespace, topics: names, cutWithinMs, now: Date.now });
      console.log(`Backed up: ${sumOf(manifest)}, as at ${manifest.createdAt}.`);
    } else {
      const url = process.env.SCHEMA_REGISTRY_URL ?? '';
      const schemas = url === '' ? {} : { schemas: createHttpRegistry({ url }) };
      console.log(`Restored: ${sumOf(await restore({ ...shared, ...schemas, kafka, folder: from! }))}.`);
    }
    return 0;
  } finally {
    await kafka.close();
  }
}

function sumOf(manifest: Parameters<typeof savedPartitions>[0]): string {
  const files = savedPartitions(manifest);
  return `${files.reduce((sum, { records }) => sum + records, 0)} records of ${manifest.topics.length} topics in ${files.length} files`;
}

function options(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flags = { out: text, in: text, verify: text, topics: text, wait: text, help: { type: 'boolean', short: 'h' } } as const;
  try {
    return parseArgs({ args: [...args], options: flags }).values;
  } catch (cause) {
    throw new SpoolError('INVALID_CONFIG', `${(cause as Error).message}\n\n${usage}`, { cause });
  }
}
