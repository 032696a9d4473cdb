import type { EngineTopics, Workload } from '../workload.js';

/** What a contender in Node is started with, as its only argument. */
export interface ContenderConfig {
  readonly workload: Workload;
  readonly brokers: readonly string[];
  /** Its own, for groups, transactional ids and further topics. */
  readonly id: string;
  readonly topics: EngineTopics;
  readonly dataDir: string;
}

export type StartContender = (config: ContenderConfig) => Promise<{ close(): Promise<void> }>;
