/** Everything that a bundle's author imports. */
export {
  arrayOf,
  doc,
  enumOf,
  mapOf,
  optional,
  record,
  SpoolError,
  upcaster,
  withDefault,
  type PayloadOf,
  type RecordSchema,
} from '@spool/schemas';
export type { Log, ReadonlyTable, Table } from '@spool/streams';
export {
  aggregate,
  reject,
  Rejection,
  type Aggregate,
  type AggregateOptions,
  type Decide,
  type DecideContext,
  type EvolveContext,
  type GuardedDecide,
} from './aggregate/aggregate.js';
export { foldQuery } from './aggregate/fold.js';
export { rebuildSnapshot, takeSnapshot } from './aggregate/host.js';
export { snapshotPrefix } from './aggregate/rows.js';
export { stateHash } from './aggregate/snapshots.js';
export { outcomePrefix } from './outcomes/outcomes.js';
export { bundle, type Bundle, type BundleOptions, type Component, type Repository, type RoutedOptions } from './bundle/bundle.js';
export {
  bundleDescriptor,
  consumerId,
  type BundleDescriptor,
  type ComponentDescriptor,
  type PayloadDescriptor,
} from './bundle/descriptor.js';
export { describe } from './bundle/describe.js';
export { boundContexts, defaultContext, inContext, type ContextOptions } from './context/context.js';
export type { Endpoint, EndpointRequest, EndpointResponse, EndpointSettings, EndpointUpgrade } from './endpoint/endpoint.js';
export type { Caller, Tokens } from './endpoint/tokens.js';
export type { Interceptor, Intercepted } from './interceptor/interceptor.js';
export {
  only,
  type CommandTarget,
  type EventOf,
  type EventSource,
  type EventsOf,
  type EventTypesOf,
  type QueryTarget,
} from './messages.js';
export type { CommandSender, QueryAsker, QuerySubscriber } from './gateway/declared.js';
export { createGateway, defaultMaxInFlight, refusal, type GatewayOptions } from './gateway/gateway.js';
export type {
  Answer,
  AskOptions,
  CommandGateway,
  CommandResult,
  ExpectedVersion,
  Priority,
  Gateway,
  QueryGateway,
  QuerySubscription,
  SubscribeQueryOptions,
  RequestMessage,
  SendOptions,
} from './gateway/messages.js';
export { openLeasedReplies, type LeasedReplies, type LeasedRepliesOptions } from './gateway/leased-replies.js';
export { openReplies, type Replies, type RepliesOptions } from './gateway/replies.js';
export { openInstances, type Instances, type InstancesOptions } from './cluster/instances.js';
export { startBundle, type BundleConfig, type RunningBundle } from './host/start-bundle.js';
export { commandLine, type Argument, type CommandLine, type CommandLineOptions } from './invoker/command-line.js';
export { runCommandLine, type CommandLineConfig } from './invoker/command-line-host.js';
export { cron, type Cron, type CronOptions, type Tick } from './invoker/cron.js';
export { http, type HttpInvoker, type HttpOptions, type HttpRequest, type HttpResponse } from './invoker/http.js';
export type { ClientContext, InvokerContext, InvokerOptions, JsonGateway } from './invoker/declared.js';
export { invoker, type Invoker, type StartInvoker } from './invoker/invoker.js';
export { observer, type Observer, type ObserverContext, type ObserverOptions } from './observer/observer.js';
export type { MessageOf, Payloads, Queries, QuerySchemas } from './payloads.js';
export { fromToken, reached, toToken, tokenAfter, type PositionToken } from './position/token.js';
export { projection, type CacheOptions, type Projection, type ProjectionOptions, type QueryContext } from './projection/projection.js';
export {
  projector,
  table,
  type EventContext,
  type ProjectedEvent,
  type Projector,
  type ProjectorContext,
  type ProjectorOptions,
  type TableOf,
} from './projector/projector.js';
export { copyConsumer, openAliases, type Aliases } from './registry/aliases.js';
export {
  openRegistry,
  type Registry,
  type RegisteredBundle,
  type RegisteredComponent,
  type RegisteredPayload,
} from './registry/registry.js';
export {
  connectPlatform,
  platformSettings,
  platformVariables,
  readEnvironment,
  type Connection,
  type PlatformSettings,
} from './settings/settings.js';
export { streaming, type StreamContext, type Streaming, type StreamingOptions, type Streams } from './service/streaming.js';
export { service, type Handle, type Service, type ServiceContext, type ServiceOptions } from './service/service.js';
export {
  saga,
  type Saga,
  type SagaCommandOf,
  type SagaContext,
  type SagaOptions,
  type SagaOutcome,
  type SagaReaction,
} from './saga/saga.js';
export { instancesOf } from './saga/router.js';
export { refoldSaga } from './saga/refold.js';
export { sagaStateHeader } from './saga/host.js';
export { stepSaga, type SagaInput, type SagaMeta, type SagaRow, type SagaStepped, type SentCommand } from './saga/step.js';
export { serveStores } from './stores/serve.js';
export { openStoreQueries, type DistributedStore, type Found, type StoreAskOptions, type StoreQueryOptions } from './stores/ask.js';
