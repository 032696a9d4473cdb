/**
 * `kafkajs`: a bare consumer that counts. `spool`, `spool-postgres`: a rewind of a live read model over the replay service. `kafka-streams-reprocess` counts the topic
 * anew, `kafka-streams-restore` fills a lost table from it. `emmett`: a new projection over its own store in PostgreSQL.
 */
export const contenders = ['kafkajs', 'spool', 'spool-postgres', 'kafka-streams-reprocess', 'kafka-streams-restore', 'emmett'] as const;
export type ContenderName = (typeof contenders)[number];
export type SpoolContender = Extract<ContenderName, `spool${string}`>;

/** What a contender in Node is started with, as its only argument. */
export interface ContenderConfig {
  readonly brokers: readonly string[];
  readonly schemaRegistryUrl: string;
  /** Its own, for groups and instances. */
  readonly id: string;
  /** Of the topics. */
  readonly namespace: string;
  readonly partitions: number;
  readonly topic: string;
  /** In the topic. */
  readonly records: number;
  readonly dataDir: string;
  readonly postgresUrl: string;
}

/** What a contender says when it has handled all of them. */
export interface Replayed {
  readonly records: number;
  /** From its first record to its last. */
  readonly seconds: number;
}
