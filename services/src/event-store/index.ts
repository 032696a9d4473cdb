export {
  openEventStore,
  type AggregateState,
  type Difference,
  type EventStore,
  type EventStoreOptions,
  type EventsRequest,
  type Moment,
  type StoredEvent,
  type StreamRequest,
} from './event-store.js';
export type { Change } from './differences.js';
export { maxAggregateIdBytes } from './index-rows.js';
