import { SpoolError } from '@spool/schemas';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const toolTimeoutMs = 120_000;

/** Arguments of `java` for a main class of Kafka. */
export function javaArgs(jars: string, options: readonly string[], mainClass: string, args: readonly string[]): readonly string[] {
  return [...options, '-cp', join(jars, '*'), mainClass, ...args];
}

/**
 * Runs one of Kafka's own command line tools to its end and gives what it printed.
 * @param mainClass such as `org.apache.kafka.tools.TopicCommand`
 * @throws SpoolError CHILD_FAILED with what it printed; TOOL_MISSING without Java.
 */
export async function runKafkaTool(jars: string, mainClass: string, args: readonly string[]): Promise<string> {
  // A tool lives for a second: a quick start matters more than fast code.
  const options = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Dlog4j2.level=ERROR'];
  try {
    const { stdout } = await run('java', [...javaArgs(jars, options, mainClass, args)], { timeout: toolTimeoutMs });
    return stdout;
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    if (code === 'ENOENT') throw javaMissing(error);
    const said = `${stdout ?? ''}\n${stderr ?? ''}`.trim().slice(-1000);
    throw new SpoolError('CHILD_FAILED', `${mainClass} failed: ${said}`, { cause: error });
  }
}

const javaMissing = (cause: unknown): SpoolError =>
  new SpoolError(
    'TOOL_MISSING',
    'Java 17 or newer (java) is needed to run Kafka; install it, or set KAFKA_BROKERS to use a broker you have.',
    {
      cause,
    },
  );
