export type * from './kafka/port.js';
export { offset } from './kafka/port.js';
export { logEnds } from './kafka/log-ends.js';
export { readTopic } from './kafka/read-topic.js';
export { stage } from './store/staged.js';
export { createSharedWriter, type SharedWriter } from './engine/writer.js';
export { openControl, type Control, type ControlOptions, type ControlOrder, type LetterChoice } from './engine/control.js';
export { chosen as chosenLetters, indexLetters, readLetters, type Letter, type LetterEntry, type LetterQuery } from './engine/letters.js';
export { effectsWork, type Effect, type EffectsWorkOptions } from './engine/effects-work.js';
export { localWork, type GroupContext, type LocalContext, type LocalWorkOptions } from './engine/local-work.js';
export { offsetWork, type OffsetWorkOptions } from './engine/offset-work.js';
export { runProcessor, type ProcessorOptions, type RunningProcessor } from './engine/processor.js';
export { readToEnd, type ReadToEndOptions, type RestoreProgress, type RestoreSource, type TaskCheckpoint } from './engine/restore.js';
export { engineKey, relocatedLetter, relocatedParked, type Relocate } from './engine/relocate.js';
export { backOffMs } from './engine/retry.js';
export { standsAt } from './engine/standstill.js';
export { isTransient } from './engine/parking.js';
export { handling, type Commit, type Handled, type Handling, type HandlingOptions, type TaskContext } from './engine/handling.js';
export { rowValue, type StoreSpec } from './engine/stores.js';
export type { Timer } from './engine/timers.js';
export { standbyCopy, type StandbyOptions } from './engine/standby.js';
export { transactionalWork, type TransactionalWorkOptions } from './engine/transactional-work.js';
export type {
  Group,
  PartitionStatus,
  ProcessorDefinition,
  ProcessorState,
  ProcessorStatus,
  ReplayStatus,
  StandbyCopy,
  Rewind,
  TaskRequest,
  TaskWork,
} from './engine/work.js';
export { isWanted } from './engine/replay-filter.js';
export type { ReplayFilter } from './store/stored-filter.js';
export { checkpointCodec } from './instance/checkpoints.js';
export { rowsWork, type RowsWorkOptions } from './instance/rows-work.js';
export { instanceTarget, openInstance, type Instance, type InstanceOptions, type Log } from './instance/instance.js';
export { clusterConfigKey, defaultClusterConfig, followClusterConfig, type LiveConfig, type LiveConfigOptions } from './cluster/config.js';
export { leaseConsumer, leaseGrantor, leasePrefix, type LeaseGrantorOptions } from './leases/grantor.js';
export { acquireLease, type Lease, type LeaseInstance, type LeaseOptions, type Wanted } from './leases/lease.js';
export { sweepTimer, type Sweep } from './engine/sweep.js';
export { openLmdbStore, type LmdbStoreOptions } from './store/lmdb-store.js';
export { writeBehind, type WriteBehindOptions } from './store/write-behind.js';
export { createMemoryStore } from './store/memory-store.js';
export {
  partitionKey,
  splitPartitionKey,
  emptyCheckpoint,
  type Clearing,
  type GroupTransaction,
  type LocalStore,
  type RangeOptions,
  type ReadonlyTable,
  type Store,
  type StoreCheckpoint,
  type StoredReplay,
  type TableChanges,
  type Table,
} from './store/store.js';
export { readTable, type Change, type TableReader, type TableReaderOptions } from './table/table.js';
export { tailTopic, type Tail, type TailOptions } from './table/tail.js';
export { countedKafka, type KafkaCounts } from './telemetry/counted-kafka.js';
export { noTelemetry, type Telemetry, type Sampling } from './telemetry/emitter.js';
export { mayBeWritten, platformBundle, platformTopics, topicCatalogue, type TopicCatalogue, type TopicOptions } from './topics/topics.js';
export { createMemoryCluster, createMemoryKafka, type MemoryCluster } from './kafka/memory/connect.js';
export type { BrokenCommit, MemoryOptions } from './kafka/memory/broker.js';

export { partitionOf } from './kafka/partitioner.js';
export { connectKafka } from './kafka/kafkajs/connect.js';
export type { KafkaConfig } from './kafka/kafkajs/connection.js';

export { avro, bytes, json, long, nullable, string, type Encodes, type KeyValue, type Serde } from './topology/serde.js';
export { hopping, tumbling, windowed, type TimeWindows, type Windowed } from './topology/windows.js';
export { topology, type Declare, type Queryables, type TableSource, type Topology } from './topology/topology.js';
export { partOf, runTopology, type PartTasks, type RunningTopology, type RunTopologyOptions } from './topology/run.js';
export { openRows, positionOf, rowBytes, type Answer, type QueriedRow, type StoredRows, type StoreQuery } from './topology/query.js';
export type { Description } from './topology/parts.js';
export type { Moment } from './topology/graph.js';
export type {
  Aggregation,
  Grouped,
  GroupedTable,
  JoinOptions,
  JoinWindow,
  ProcessContext,
  ProcessedRecord,
  ProcessorSpec,
  Queryable,
  Serdes,
  StateStore,
  StoredTable,
  StoreOptions,
  Stream,
  WindowedGrouped,
  WindowOptions,
  KeyOf,
  ValueOf,
} from './topology/verbs.js';
