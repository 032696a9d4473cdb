import type { Call } from '../../load.js';

/**
 * `floor`: bare kafkajs. `flush-50ms` and `commit-100ms`: the floor with a timer before each transaction, as Surge flushes and as Kafka Streams
 * commits. `emmett`: its event store on PostgreSQL.
 */
export const contenders = ['floor', 'spool', 'flush-50ms', 'commit-100ms', 'emmett'] as const;
/** `silent`: Spool without telemetry, for the bench of what that costs. */
export type ContenderName = (typeof contenders)[number] | 'silent';

export interface ContenderConfig {
  readonly brokers: readonly string[];
  /** Its own, for groups, transactional ids and topics. */
  readonly id: string;
  readonly dataDir: string;
  readonly postgresUrl: string;
  /** Of Spool's gateway. @default more than there are callers */
  readonly maxInFlight?: number;
  /** Where schemas are kept that other processes share. @default in memory */
  readonly schemasUrl?: string;
}

export interface Contender {
  /** One command: an event of 200 bytes for one of a thousand aggregates, answered when it is durable. @param timeoutMs where it has deadlines */
  readonly call: (timeoutMs?: number) => ReturnType<Call>;
  close(): Promise<void>;
}
const aggregates = 1000;
export const anyAggregate = (): string => `k${Math.floor(Math.random() * aggregates)}`;
