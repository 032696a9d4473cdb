export { fromMetadata } from './block-range.js';
export { openClickHouse, type ClickHouse, type ClickHouseConfig } from './clickhouse.js';
export type { Insert } from './block.js';
export { figures, type Figures } from './figures.js';
export { migrate, type MigrateOptions } from './migrate.js';
export { startSink, startTelemetry, type Sink, type SinkConfig, type TelemetryConfig, type TelemetryService } from './start.js';
export type { BlockStore } from './sink-work.js';
export {
  eventQueries,
  type EventPlace,
  type EventQueries,
  type EventSearch,
  type Flow,
  type HandledMessage,
  type IndexedEvent,
} from './event-queries.js';
export type { TraceNode } from './trace-tree.js';
