export {
  openEventStore,
  type AggregateState,
  type EventStore,
  type EventStoreOptions,
  type EventsRequest,
  type StoredEvent,
} from './event-store.js';
export { maxAggregateIdBytes } from './index-rows.js';
