import { SpoolError } from '@spool/schemas';
import type { TopicDescription } from '@spool/streams';

/**
 * Left out: what belongs to running processes (replies, queries, leases, heartbeats), what is measured, and what names places of this very log and
 * is made anew (orders, replays, copies of read models).
 */
const leftOut = [
  'reply.',
  'qry.',
  'telemetry.',
  'autoscale.',
  'replay.',
  'cluster.heartbeats',
  'cluster.instances',
  'cluster.lease-requests',
  'cluster.leases',
  'registry.announcements',
  'registry.aliases',
  'registry.interactions',
  'control',
  'restored',
];
/** Kafka's own. */
const internal = /^__/;

/**
 * The topics of a back-up, sorted.
 * @param wanted names, or their beginnings with a star; empty for all of the namespace but those that are left out
 * @throws SpoolError UNKNOWN_TOPIC
 */
export function chosenTopics(all: readonly string[], namespace: string, wanted: readonly string[]): readonly string[] {
  const known = all.filter((name) => !internal.test(name)).sort();
  if (wanted.length === 0) {
    const isLeftOut = (name: string): boolean => leftOut.some((each) => (each.endsWith('.') ? name.startsWith(each) : name === each));
    return known.filter((name) => name.startsWith(namespace) && !isLeftOut(name.slice(namespace.length)));
  }
  const matches = (pattern: string, name: string): boolean =>
    pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
  const unknown = wanted.filter((pattern) => !known.some((name) => matches(pattern, name)));
  if (unknown.length > 0) throw new SpoolError('UNKNOWN_TOPIC', `no topic ${unknown.join(', ')}`);
  return known.filter((name) => wanted.some((pattern) => matches(pattern, name)));
}

const kept = [
  'cleanup.policy',
  'retention.ms',
  'retention.bytes',
  'min.compaction.lag.ms',
  'max.compaction.lag.ms',
  'delete.retention.ms',
  'max.message.bytes',
  'compression.type',
  'segment.bytes',
  'segment.ms',
];
/** The settings of a topic that are restored; replication and the like belong to the cluster. */
export const keptConfig = ({ config }: Pick<TopicDescription, 'config'>): Record<string, string> =>
  Object.fromEntries(kept.flatMap((name) => (config[name] === undefined ? [] : [[name, config[name]]])));

/** Whether tasks keep their checkpoints there: such topics are written in transactions alone. */
export const isCompacted = (config: Readonly<Record<string, string>>): boolean => config['cleanup.policy']?.includes('compact') === true;
