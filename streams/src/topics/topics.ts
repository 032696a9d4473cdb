import type { TopicSpec } from '../kafka/port.js';

const day = 24 * 60 * 60 * 1000;
const minute = 60 * 1000;
/** How long the tombstones of a compacted topic are there to be read; a store that has not followed for longer may hold rows that are gone. */
export const tombstoneRetentionMs = day;

export interface TopicOptions {
  /** Prefix with its dot, such as `acme.`, so that tenants share a cluster. @default '' */
  readonly namespace?: string;
  /** Partitions of the topics that carry a bundle's messages; fixed when they are created. @default 3 */
  readonly partitions?: number;
}

/** Every topic that Spool owns, with its settings: the one place that knows their names. */
export function topicCatalogue({ namespace = '', partitions = 3 }: TopicOptions = {}) {
  const topic = (name: string, rest: Omit<TopicSpec, 'name'>): TopicSpec => ({ name: `${namespace}${name}`, ...rest });
  const deleted = (name: string, retentionMs: number, count = partitions): TopicSpec =>
    topic(name, { partitions: count, cleanup: 'delete', retentionMs });
  const forEver = (name: string, count = partitions): TopicSpec =>
    topic(name, { partitions: count, cleanup: 'delete', retentionMs: -1, sourceOfTruth: true });
  // Claims and markers must outlive the moment in which another process reads them.
  const compacted = (name: string, count = partitions): TopicSpec =>
    topic(name, {
      partitions: count,
      cleanup: 'compact',
      retentionMs: -1,
      config: { 'min.compaction.lag.ms': String(minute), 'delete.retention.ms': String(tombstoneRetentionMs) },
    });
  return {
    namespace,
    /** Domain commands, by aggregate id. */
    commands: (aggregate: string) => deleted(`cmd.${aggregate}`, 7 * day),
    /** Domain events, by aggregate id: the history. Same partitions as the commands. */
    events: (aggregate: string) => forEver(`evt.${aggregate}`),
    /** Snapshots, outcomes and task checkpoints of an aggregate. */
    snapshots: (aggregate: string) => compacted(`snap.${aggregate}`),
    /** Service commands, by lock id or else by their own id. */
    service: (service: string, lane: 'high' | 'normal' | 'low') => deleted(`svc.${service}.${lane}`, 7 * day),
    /** What a saga has to react to, by the id of its instance. */
    saga: (saga: string) => deleted(`saga.${saga}`, 7 * day),
    /** Who took over the ticks of a cron invoker; its timers are in the changelog of its consumer. */
    cron: (invoker: string) => deleted(`cron.${invoker}`, 7 * day, 1),
    /** Queries to a projection, answered by any of its instances. */
    queries: (projection: string) => deleted(`qry.${projection}`, 5 * minute),
    /** Requests for rows of a processor's stores; partition i is answered by the owner of task i. */
    storeQueries: (consumer: string, tasks: number): TopicSpec => ({ ...deleted('', 5 * minute, tasks), name: `qry.${consumer}` }),
    /** Replies, one fixed partition per waiting process. */
    replies: (pool: string) => deleted(`reply.${pool}`, 5 * minute, 16),
    /** State of a processor, a partition for each of its tasks. */
    changelog: (consumer: string, tasks: number) => compacted(`${consumer}.changelog`, tasks),
    /** Between two parts of a topology. */
    repartition: (name: string, count: number) => deleted(name, 7 * day, count),
    /** Routed events of an application, by their routing key. */
    signals: (root: string) => deleted(`sig.${root}`, 7 * day),
    /** Events for one node, by sender; one partition, so that it has one place in them. */
    inbox: (node: string) => deleted(`inbox.${node}`, 7 * day, 1),
    deadLetters: (consumer: string) => deleted(`dlq.${consumer}`, 30 * day),
    announcements: deleted('registry.announcements', day, 1),
    bundles: compacted('registry.bundles', 1),
    /** Who was seen to handle what of whom; see `spool.Interaction`. */
    interactions: compacted('registry.interactions', 1),
    /** Which copy of a read model answers. */
    aliases: compacted('registry.aliases', 1),
    heartbeats: deleted('cluster.heartbeats', 10 * minute),
    /** Partitioned as the heartbeats are. */
    instances: compacted('cluster.instances'),
    leaseRequests: deleted('cluster.lease-requests', 10 * minute, 1),
    leases: compacted('cluster.leases', 1),
    clusterConfig: compacted('cluster.config', 1),
    /** What bundles feel, by bundle. */
    autoscaleSignals: deleted('autoscale.signals', 7 * day),
    /** Each decision of the balancer with its inputs, by bundle; once more when it is known what became of it. */
    autoscaleDecisions: deleted('autoscale.decisions', 7 * day),
    /** What the owner of a bundle wants of the balancer. */
    scalingPolicies: compacted('autoscale.policies', 1),
    /** The latest decision on each bundle; partitioned as the signals are. */
    balances: compacted('autoscale.balances'),
    // Everything of the last week; of what is older the last order of each matter, so that a pause holds for as long as it has to.
    control: topic('control', {
      partitions,
      cleanup: 'compact',
      retentionMs: -1,
      config: { 'min.compaction.lag.ms': String(7 * day) },
    }),
    replayJobs: compacted('replay.jobs', 1),
    /** Rows in which a scratch copy differs from the live read model, by replay. */
    differences: deleted('replay.differences', 7 * day, 1),
    spans: deleted('telemetry.spans', day),
    metrics: deleted('telemetry.metrics', day),
    lag: deleted('telemetry.lag', day),
    audit: forEver('audit', 1),
    /** Which back-up these topics are restored from, and whether that came to its end. */
    restored: compacted('restored', 1),
  } as const;
}
export type TopicCatalogue = ReturnType<typeof topicCatalogue>;

/** The bundle id under which the platform's own processes run. */
export const platformBundle = 'spool';

/** The topics of the platform itself, which every process makes sure of before it starts. */
export const platformTopics = (topics: TopicCatalogue): readonly TopicSpec[] => [
  topics.announcements,
  topics.bundles,
  topics.interactions,
  topics.aliases,
  topics.heartbeats,
  topics.instances,
  topics.leaseRequests,
  topics.leases,
  topics.clusterConfig,
  topics.scalingPolicies,
  topics.autoscaleSignals,
  topics.autoscaleDecisions,
  topics.balances,
  topics.control,
  topics.replayJobs,
  topics.differences,
  topics.spans,
  topics.metrics,
  topics.lag,
  topics.audit,
  ...['registry', 'cluster', 'leases', 'autoscaler'].map((name) => topics.deadLetters(`${topics.namespace}spool.${name}`)),
];

const ownFamilies = new Set(
  'cmd evt snap svc saga cron qry reply dlq sig inbox node registry cluster control replay telemetry autoscale audit restored'.split(' '),
);
/** Whether anybody but the platform may write to a topic: not to what it is built on, nor to Kafka's own, nor to those of another namespace. */
export function mayBeWritten({ namespace }: Pick<TopicCatalogue, 'namespace'>, topic: string): boolean {
  const name = topic.slice(namespace.length);
  return topic.startsWith(namespace) && !/^_|\.changelog$|-repartition$/.test(name) && !ownFamilies.has(name.split('.', 1)[0]!);
}
