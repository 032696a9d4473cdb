export {
  openEventStore,
  type AggregateState,
  type Difference,
  type EventStore,
  type EventStoreOptions,
  type EventsRequest,
  type Moment,
  type Step,
  type StoredEvent,
  type StreamRequest,
} from './event-store.js';
export { causationTree, type FlowNode, type Handling } from './causation.js';
export { flowSteps, inCausalOrder, type FlowStep } from './flow-steps.js';
export { eventTails } from './fan-out.js';
export type { Delivery, Listener, Tail, TailFilter, TailItem, TailRequest, TailedEvent, Tails } from './tail.js';
export type { Signal } from './signals.js';
export { sagaStates, type ReadStep, type SagaInstance } from './sagas.js';
export type { Change } from './differences.js';
export { maxAggregateIdBytes, rowKey, streamsTable, type IndexRow } from './index-rows.js';
export { indexConsumer } from './indexer.js';
export { createVerifier, type Verification, type Verifier, type VerifierOptions, type VerifyRequest } from './verify/verifier.js';
export type { VerifyReport } from './verify/verify.js';
export { violationCodes, type Violation, type ViolationCode } from './verify/violations.js';
