import { execFile } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mavenJars } from '@spool/embedded';
import { javaProject } from '../engine/start.js';
import type { ContenderConfig, ContenderName, Replayed } from './contenders/contender.js';

const run = promisify(execFile);
/** The main of every contender in Node. */
export const nodeContender = fileURLToPath(new URL('contenders/main.js', import.meta.url));
const timeout = 600_000;

/** Runs a contender that ends by itself. @throws Error when it fails, or does not end in ten minutes */
export async function runContender(name: ContenderName, config: ContenderConfig): Promise<Replayed> {
  const { stdout } = name.startsWith('kafka-streams')
    ? await run('java', await javaArgs(name, config), { timeout })
    : await run(process.execPath, ['--max-semi-space-size=64', nodeContender, name, JSON.stringify(config)], { timeout });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Replayed;
}

async function javaArgs(name: ContenderName, { brokers, id, topic, dataDir, records }: ContenderConfig): Promise<readonly string[]> {
  const jars = await mavenJars(javaProject, 'Kafka Streams', () => undefined);
  const mode = name.endsWith('restore') ? 'restore' : 'reprocess';
  const peer = ['spool.bench.KafkaStreamsReplay', mode, brokers.join(','), id, topic, dataDir, String(records)];
  return ['-Xmx1g', '-cp', [jars, join(jars, '*')].join(delimiter), ...peer];
}
