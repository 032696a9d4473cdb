export {
  createEvents,
  type EventDeclaration,
  type EventFirer,
  type EventHandler,
  type Events,
  type EventsOptions,
  type FireOptions,
  type ReceivedEvent,
} from './events.js';
export { instanceEvents, type InstanceEventsOptions } from './instance-events.js';
export { kafkaEvents, type KafkaEventsOptions } from './kafka.js';
export { createEventHub, type EventHub } from './memory.js';
export { createPatternTrie, type PatternTrie } from './pattern-trie.js';
export { carriedEvent } from './record.js';
export { consume, expose, type ConsumeOptions, type Remote, type RemoteOptions, type RemoteService } from './remote.js';
export { parseRouting, routingKey, severitiesOf, type EventKind, type Routing, type Severity } from './routing.js';
export { avroSerializer, jsonSerializer, messagePackSerializer, type Serializer } from './serializer.js';
export type { CarriedEvent, Destination, Emitter, EventPattern, EventTransport } from './transport.js';
