export type { Log } from './log.js';
export { startKafka, type EmbeddedKafka, type KafkaOptions } from './kafka/start.js';
export { kafkaJars, mavenJars } from './kafka/jars.js';
export { runKafkaTool } from './kafka/java.js';
export type { KafkaUser } from './kafka/properties.js';
export { startPostgres, type EmbeddedPostgres, type PostgresOptions } from './postgres/start.js';
export { superviseChild, type ChildSpec, type ChildState, type RestartPolicy, type SupervisedChild } from './supervisor/supervise.js';
export { assertPortsFree, freePorts, type WantedPort } from './supervisor/ports.js';
export { testKafka } from './testing/broker.js';
export { platformProcess, stillAlive, type PlatformProcess, type PlatformProcessOptions } from './testing/platform-process.js';
export { startBrokerAlone } from './platform/broker-alone.js';
export { platformConfig, type PlatformConfig } from './platform/config.js';
export { startPlatform, type Platform, type PlatformOptions } from './platform/start.js';
export {
  clickHouseCommand,
  spawnClickHouse,
  type ClickHouseProcessOptions,
  type SpawnedClickHouse,
  type SpawnOptions,
} from './clickhouse/spawn.js';
