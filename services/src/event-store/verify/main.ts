import { randomInt } from 'node:crypto';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { SpoolError, toSpoolError } from '@spool/schemas';
import { connectPlatform, createGateway, openRegistry, openReplies, platformSettings } from '@spool/sdk';
import { sourcesOf } from '../indexer.js';
import { foldAsker } from '../states.js';
import { chosenSources, verifySource, type VerifyReport } from './verify.js';
import { violationCodes, type Violation } from './violations.js';

const usage = `npm run verify -- [options]

  --aggregate <name>  only this aggregate, service or saga; may come several times
  --from <time>       only events from this time on, such as 2026-01-31T12:00:00Z; snapshots are then not compared
  --no-replay         folds nothing, so that no bundle need run: snapshots are checked for their hash alone
  --json              one JSON object a line
  --help              show this

Reads the committed records of every evt.* and snap.* topic and checks them. Ends with 0 when all is well, 1 when something is wrong, 2 when it
could not be found out.

Environment variables:
  KAFKA_BROKERS (127.0.0.1:9092) and the other KAFKA_ variables, SPOOL_NAMESPACE, SPOOL_PARTITIONS: as the services have them
  SCHEMA_REGISTRY_URL (http://127.0.0.1:8081)

What is reported:
${Object.entries(violationCodes)
  .map(([code, meaning]) => `  ${code.padEnd(20)} ${meaning}`)
  .join('\n')}
`;

process.exitCode = await main(process.argv.slice(2)).catch((thrown: unknown) => {
  const error = toSpoolError(thrown);
  console.error(`${error.code}: ${error.message}\n${error.entry.remedy}`);
  return 2;
});

async function main(args: readonly string[]): Promise<number> {
  const { values } = options(args);
  if (values.help === true) {
    console.log(usage);
    return 0;
  }
  const from = values.from === undefined ? undefined : Date.parse(values.from);
  if (from !== undefined && !Number.isFinite(from)) throw new SpoolError('INVALID_CONFIG', `--from ${values.from!} is not a time`);
  const env = { KAFKA_BROKERS: '127.0.0.1:9092', ...process.env };
  const schemaRegistryUrl = process.env.SCHEMA_REGISTRY_URL ?? 'http://127.0.0.1:8081';
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort(new SpoolError('UNAVAILABLE', 'stopped before the end')));

  const { kafka, codec, topics } = await connectPlatform({
    ...platformSettings(env),
    schemaRegistryUrl,
    clientId: 'spool-verify',
    log: (level, message, fields) => (level === 'info' ? undefined : console.error(message, fields ?? '')),
  });
  try {
    const now = Date.now;
    const onError = (error: unknown): void => console.error(String(error));
    await using registry = await openRegistry({ kafka, codec, topics, onError });
    // A slot of the gateway's pool: whoever else has it passes over what is not its own.
    const pool = topics.replies('gateway');
    await using replies = await openReplies({ kafka, codec, topic: pool, slot: randomInt(pool.partitions), now, onError });
    const gateway = createGateway({ codec, topics, producer: await kafka.producer(), replies, registry, source: 'verify', now });
    const ask = values['no-replay'] === true ? undefined : foldAsker({ codec, topics, now }, gateway);
    const sources = chosenSources(await sourcesOf({ kafka, topics }, registry.components()), values.aggregate ?? []);
    let violations = 0;
    const print =
      values.json === true ? (object: unknown) => console.log(JSON.stringify(object)) : (_: unknown, text: string) => console.log(text);
    for (const source of sources) {
      const onViolation = (violation: Violation): void => print({ violation }, textOf(violation));
      const shared = { kafka, codec, topics, now, ask, from, onViolation, signal: stop.signal };
      const report = await verifySource(source, { ...shared, scratchDir: tmpdir() });
      violations += report.violations;
      print({ report }, summaryOf(report));
    }
    if (sources.length === 0) print({ sources: 0 }, 'There are no events.');
    return violations === 0 ? 0 : 1;
  } finally {
    await kafka.close();
  }
}

function options(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        aggregate: { type: 'string', multiple: true },
        from: { type: 'string' },
        'no-replay': { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (cause) {
    throw new SpoolError('INVALID_CONFIG', `${(cause as Error).message}\n\n${usage}`, { cause });
  }
}

function textOf({ code, topic, partition, offset, aggregateType, aggregateId, expected, found }: Violation): string {
  return `${code} ${topic}-${partition}@${offset} ${aggregateType} ${aggregateId}: expected ${expected}, found ${found}`;
}

function summaryOf({ source, kind, events, aggregates, snapshots, compared, otherCode, violations }: VerifyReport): string {
  const folded =
    kind === 'aggregate' ? `, ${snapshots} snapshots (${compared} compared with their events, ${otherCode} by other code)` : '';
  return `${source}: ${events} events of ${aggregates}${folded}: ${violations === 0 ? 'all is well' : `${violations} violations`}`;
}
