import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mavenJars, superviseChild, type ChildSpec, type SupervisedChild } from '@spool/embedded';
import type { ContenderConfig } from './contenders/contender.js';

export const contenders = ['kafkajs', 'kafka-streams', 'kafka-streams-cached', 'spool'] as const;
export type ContenderName = (typeof contenders)[number];

const nodeContender = fileURLToPath(new URL('contenders/main.js', import.meta.url));
/** The sources of the Java peers. */
export const javaProject = fileURLToPath(new URL('../../peers/kafka-streams/', import.meta.url));

/** A child that is not started again: its death ends the run. */
export const once = { maxQuickDeaths: 1, quickMs: Number.POSITIVE_INFINITY };

/** @param profileDir takes a CPU profile of a contender in Node when it is closed */
export async function startContender(name: ContenderName, config: ContenderConfig, profileDir?: string): Promise<SupervisedChild> {
  const command = name.startsWith('kafka-streams')
    ? await javaCommand(config, name === 'kafka-streams-cached' ? 'default' : 'off')
    : nodeCommand([nodeContender, name, JSON.stringify(config)], profileDir);
  return superviseChild({ ...command, name, logFile: join(config.dataDir, 'console.log'), restart: once });
}

type StartCommand = Pick<ChildSpec, 'command' | 'args' | 'ready' | 'ipc'>;

/** As the platform starts its own processes. */
export const nodeCommand = (args: readonly string[], profileDir?: string): StartCommand => ({
  command: process.execPath,
  args: [
    '--enable-source-maps',
    '--max-semi-space-size=64',
    ...(profileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileDir}`]),
    ...args,
  ],
  ipc: true,
  ready: 'ipc',
});

async function javaCommand({ workload, brokers, id, topics, dataDir }: ContenderConfig, cache: 'default' | 'off'): Promise<StartCommand> {
  const jars = await mavenJars(javaProject, 'Kafka Streams', () => undefined);
  const args = [workload, brokers.join(','), id, topics.input, topics.table, topics.output, dataDir, cache];
  return {
    command: 'java',
    args: ['-Xmx1g', '-cp', [jars, join(jars, '*')].join(delimiter), 'spool.bench.KafkaStreamsPeer', ...args],
    // It is measured from its first result on.
    ready: () => Promise.resolve(),
  };
}

export interface Usage {
  /** Resident now, and at the highest, in MiB. */
  readonly rssMb: number;
  readonly peakRssMb: number;
  readonly cpuSeconds: number;
}

/** What a process has used so far; undefined where there is no /proc. */
export async function usageOf(pid: number): Promise<Usage | undefined> {
  if (!existsSync(`/proc/${pid}/status`)) return undefined;
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const mb = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024;
  // The name in parentheses may hold spaces. User and system time follow, in ticks, of which there are 100 a second.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { rssMb: mb('VmRSS'), peakRssMb: mb('VmHWM'), cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 };
}
