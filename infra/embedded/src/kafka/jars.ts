import { SpoolError } from '@spool/schemas';
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Log } from '../log.js';

/** Where pom.xml and log4j2.xml stand; the jars go to `target/` beside them. */
export const kafkaFolder = fileURLToPath(new URL('../../kafka/', import.meta.url));

const timeoutMs = 15 * 60_000;
const progressMs = 2_000;

/**
 * The folder that holds the broker's jars. Maven copies them once for each content of the pom; later calls only look.
 * Two processes may call it at once.
 * @throws SpoolError TOOL_MISSING without Maven; CHILD_FAILED with what Maven said when it fails.
 */
export async function kafkaJars(log: Log): Promise<string> {
  const pom = await readFile(join(kafkaFolder, 'pom.xml'));
  const target = join(kafkaFolder, 'target');
  const folder = join(target, `lib-${createHash('sha256').update(pom).digest('hex').slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  // Copied beside and renamed when complete, so that a folder with the right name is never half full.
  const partial = join(target, `partial-${randomUUID()}`);
  await mkdir(target, { recursive: true });
  try {
    await copyDependencies(partial, log);
    await rename(partial, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}

/** Runs Maven, with a line every two seconds while it downloads. */
async function copyDependencies(folder: string, log: Log): Promise<void> {
  const pom = join(kafkaFolder, 'pom.xml');
  const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${folder}`, '-DincludeScope=runtime'];
  const maven = spawn('mvn', ['-B', '-f', pom, ...goal], { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
  let jars = 0;
  let told = 0;
  const errors: string[] = [];
  const timer = setInterval(() => {
    if (jars > told) log(`kafka: Maven has downloaded ${String((told = jars))} jars`);
  }, progressMs);
  const read = (line: string): void => {
    if (/Downloaded .*\.jar /.test(line)) jars += 1;
    if (line.startsWith('[ERROR]') && errors.length < 5) errors.push(line.slice(8, 400));
  };
  log('kafka: Maven fetches the jars of the broker (once)');
  createInterface(maven.stdout).on('line', read);
  createInterface(maven.stderr).on('line', read);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      maven.once('error', reject);
      maven.once('close', resolve);
    });
    if (code !== 0) throw new SpoolError('CHILD_FAILED', `Maven could not fetch the jars of Kafka (${pom}): ${errors.join(' ')}`);
  } catch (error) {
    if (error instanceof SpoolError) throw error;
    throw new SpoolError(
      'TOOL_MISSING',
      'Maven (mvn) is needed to fetch Kafka; install it, or set KAFKA_BROKERS to use a broker you have.',
      {
        cause: error,
      },
    );
  } finally {
    clearInterval(timer);
  }
}
