import type { Gateway } from '@spool/sdk';
import type { ConsumerService } from '../consumers/index.js';
import type { EventStore, Verifier } from '../event-store/index.js';
import type { Route } from '../http/index.js';
import type { ReplayService } from '../replay/index.js';
import { aggregateRoutes } from './aggregate-routes.js';
import { autoscaleRoutes, type AutoscaleRoutesOptions } from './autoscale-routes.js';
import { cloudEventRoutes } from './cloud-event-routes.js';
import { clusterRoutes, type ClusterRoutesOptions } from './cluster-routes.js';
import { consumerRoutes } from './consumer-routes.js';
import { eventRoutes, type EventRoutesOptions } from './event-routes.js';
import { messageRoutes } from './message-routes.js';
import { registryRoutes, type RegistryRoutesOptions } from './registry-routes.js';
import { telemetryRoutes, type TelemetryRoutesOptions } from './telemetry-routes.js';
import { replayRoutes } from './replay-routes.js';
import { sagaRoutes } from './saga-routes.js';
import { topicRoutes, type TopicRoutesOptions } from './topic-routes.js';
import { verifyRoutes } from './verify-routes.js';

export interface GatewayRoutesOptions
  extends
    RegistryRoutesOptions,
    ClusterRoutesOptions,
    AutoscaleRoutesOptions,
    Omit<EventRoutesOptions, 'consumers' | 'eventStore' | 'registry'>,
    TopicRoutesOptions,
    TelemetryRoutesOptions {
  readonly gateway: Gateway;
  readonly eventStore: EventStore;
  readonly verifier: Verifier;
  readonly replays: ReplayService;
  readonly consumers: ConsumerService;
}

/** Everything under /api/v1. */
export const gatewayRoutes = ({ gateway, eventStore, verifier, replays, consumers, ...rest }: GatewayRoutesOptions): readonly Route[] => [
  ...messageRoutes(gateway, rest.registry, eventStore),
  ...aggregateRoutes(eventStore),
  ...sagaRoutes(eventStore),
  ...eventRoutes({ eventStore, consumers, ...rest }),
  ...verifyRoutes(verifier, eventStore),
  ...replayRoutes(replays),
  ...consumerRoutes(consumers),
  ...registryRoutes(rest),
  ...clusterRoutes(rest),
  ...autoscaleRoutes(rest),
  ...telemetryRoutes(rest),
  ...topicRoutes(rest),
  ...cloudEventRoutes(rest.topicService),
];
