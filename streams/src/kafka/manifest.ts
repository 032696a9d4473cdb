import { SpoolError } from '@spool/schemas';
import type { TopicDescription, TopicSpec } from './port.js';

/** The settings that a topic is created with. */
export function topicConfig(spec: TopicSpec): Readonly<Record<string, string>> {
  return {
    'cleanup.policy': spec.cleanup,
    ...(spec.cleanup === 'delete' ? { 'retention.ms': String(spec.retentionMs) } : {}),
    ...(spec.sourceOfTruth ? { 'retention.bytes': '-1' } : {}),
    ...spec.config,
  };
}

/**
 * Compares what the broker says of topics with what their owner wants.
 * @throws SpoolError PARTITIONS_CHANGED or UNSAFE_TOPIC; every problem of every topic is among the violations.
 */
export function checkTopics(specs: readonly TopicSpec[], found: readonly TopicDescription[]): void {
  const byName = new Map(found.map((topic) => [topic.name, topic]));
  const partitions: string[] = [];
  const settings: string[] = [];
  for (const spec of specs) {
    const topic = byName.get(spec.name);
    if (!topic) {
      settings.push(`${spec.name}: does not exist`);
      continue;
    }
    if (topic.partitions !== spec.partitions)
      partitions.push(`${spec.name}: has ${topic.partitions} partitions, ${spec.partitions} are wanted`);
    settings.push(...settingProblems(spec, topic).map((problem) => `${spec.name}: ${problem}`));
  }
  const problems = [...partitions, ...settings];
  if (problems.length === 0) return;
  throw new SpoolError(partitions.length > 0 ? 'PARTITIONS_CHANGED' : 'UNSAFE_TOPIC', problems.join('; '), {
    violations: problems.map((problem) => ({ pointer: problem.slice(0, problem.indexOf(':')), message: problem })),
  });
}

function settingProblems(spec: TopicSpec, topic: TopicDescription): readonly string[] {
  const problems: string[] = [];
  const actual = topic.config;
  const expect = (name: string, wanted: string, why: string) => {
    if (actual[name] !== undefined && actual[name] !== wanted) problems.push(`${name} is ${actual[name]}, ${wanted} is wanted: ${why}`);
  };
  if (spec.sourceOfTruth) {
    expect('cleanup.policy', 'delete', 'compaction would remove history');
    expect('retention.ms', '-1', 'history would expire');
    expect('retention.bytes', '-1', 'history would be cut by size');
  } else {
    expect(
      'cleanup.policy',
      spec.cleanup,
      spec.cleanup === 'compact' ? 'the newest record of a key would be lost' : 'records would be lost',
    );
    if (spec.cleanup === 'delete') expect('retention.ms', String(spec.retentionMs), 'records would be lost early, or kept too long');
  }
  for (const [name, wanted] of Object.entries(spec.config ?? {})) expect(name, wanted, 'its owner relies on it');
  const inSync = Number(actual['min.insync.replicas'] ?? 1);
  if (inSync > topic.replicationFactor)
    problems.push(`min.insync.replicas is ${inSync} with ${topic.replicationFactor} replicas: nothing could be written`);
  if (spec.sourceOfTruth && topic.replicationFactor >= 3 && inSync < 2)
    problems.push(
      `min.insync.replicas is ${inSync} with ${topic.replicationFactor} replicas: the loss of one broker could lose what was acknowledged`,
    );
  return problems;
}
