import { SpoolError } from '@spool/schemas';
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Log } from '../log.js';

/** Where pom.xml and log4j2.xml stand; the jars go to `target/` beside them. */
export const kafkaFolder = fileURLToPath(new URL('../../kafka/', import.meta.url));

const timeoutMs = 15 * 60_000;
const progressMs = 2_000;

/** The folder that holds the broker's jars. @throws as `mavenJars` */
export const kafkaJars = (log: Log): Promise<string> => mavenJars(kafkaFolder, 'Kafka', log);

/**
 * The folder that holds the jars which `pom.xml` in `project` names and, where it has a folder `src`, the classes compiled from it. Maven makes it
 * once for each content of these files, in `target/` beside them; later calls only look. Two processes may call it at once.
 * @param name what is fetched, for messages
 * @throws SpoolError TOOL_MISSING without Maven; CHILD_FAILED with what Maven said when it fails.
 */
export async function mavenJars(project: string, name: string, log: Log): Promise<string> {
  const source = join(project, 'src');
  const hasSource = existsSync(source);
  const hash = createHash('sha256').update(await readFile(join(project, 'pom.xml')));
  if (hasSource) for (const file of await filesOf(source)) hash.update(await readFile(file));
  const target = join(project, 'target');
  const folder = join(target, `lib-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  // Made beside and renamed when complete, so that a folder with the right name is never half full.
  const partial = join(target, `partial-${randomUUID()}`);
  await mkdir(target, { recursive: true });
  try {
    const goals = [...(hasSource ? ['compiler:compile'] : []), 'dependency:copy-dependencies'];
    await runMaven(join(project, 'pom.xml'), [...goals, `-DoutputDirectory=${partial}`, '-DincludeScope=runtime'], name, log);
    await rename(partial, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return folder;
}

async function filesOf(folder: string): Promise<readonly string[]> {
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Runs Maven, with a line every two seconds while it downloads. */
async function runMaven(pom: string, args: readonly string[], name: string, log: Log): Promise<void> {
  const maven = spawn('mvn', ['-B', '-f', pom, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
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
  log(`kafka: Maven fetches the jars of ${name} (once)`);
  createInterface(maven.stdout).on('line', read);
  createInterface(maven.stderr).on('line', read);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      maven.once('error', reject);
      maven.once('close', resolve);
    });
    if (code !== 0) throw new SpoolError('CHILD_FAILED', `Maven could not fetch the jars of ${name} (${pom}): ${errors.join(' ')}`);
  } catch (error) {
    if (error instanceof SpoolError) throw error;
    throw new SpoolError(
      'TOOL_MISSING',
      `Maven (mvn) is needed to fetch ${name}; install it, or set KAFKA_BROKERS to use a broker you have.`,
      {
        cause: error,
      },
    );
  } finally {
    clearInterval(timer);
  }
}
