import type { Upcaster } from '@spool/schemas';
import type { Aggregate } from '../aggregate/aggregate.js';
import type { Interceptor } from '../interceptor/interceptor.js';
import type { Invoker } from '../invoker/invoker.js';
import type { Observer } from '../observer/observer.js';
import type { Projection } from '../projection/projection.js';
import type { Projector } from '../projector/projector.js';
import type { EventDeclaration, EventsOptions } from '../routed/events.js';
import type { Routing } from '../routed/routing.js';
import type { Service } from '../service/service.js';
import type { Saga } from '../saga/saga.js';

export type Component = Aggregate | Service | Observer | Projector | Projection | Saga | Invoker;

export interface Bundle {
  readonly id: string;
  readonly version: string;
  readonly description: string;
  readonly components: readonly Component[];
  readonly interceptors: readonly Interceptor[];
  readonly upcasters?: readonly Upcaster[];
  readonly repository?: Repository;
  readonly routed?: RoutedOptions;
}

/** Routed events of a bundle: `events` of its components and of the running bundle. */
export interface RoutedOptions extends Pick<EventsOptions, 'serializers'> {
  /** The first word of every routing: of the application, which several bundles may share. @default the id of the bundle */
  readonly root?: string;
  /** What it fires, by name; without a routing it stays in the process. @default none */
  readonly fires?: Readonly<Record<string, Omit<EventDeclaration, 'routing'> & { readonly routing?: Omit<Routing, 'root'> }>>;
}

/** Where the code of a bundle is read. */
export interface Repository {
  /** Such as `https://github.com/acme/shop`. */
  readonly url: string;
  /** Of the package in it. @default the whole repository is the package */
  readonly directory?: string;
  /** Branch, tag or commit. @default 'main' */
  readonly ref?: string;
}

export interface BundleOptions {
  /** Lower-case letters, digits and dashes. */
  readonly id: string;
  /** Semantic version. */
  readonly version: string;
  readonly description?: string;
  /** Aggregates, projectors, projections, sagas and invokers, as their builders give them. */
  readonly components: readonly { readonly kind: Component['kind']; readonly name: string }[];
  /** Go around every handler; the first one is the outermost. @default none */
  readonly interceptors?: readonly Interceptor[];
  /** Make of events as earlier versions wrote them what the handlers of this one take. @default Avro's own resolution */
  readonly upcasters?: readonly Upcaster[];
  /** The registry links each component to its line there: `<url>/blob/<ref>/<directory>/<file>#L<line>`. @default no links */
  readonly repository?: Repository;
  /** @default it fires nothing, and `events` of the running bundle have its id as their root */
  readonly routed?: RoutedOptions;
}

/** A deployable unit. `startBundle` runs it, `describe` gives its descriptor. */
export const bundle = ({ description = '', interceptors = [], ...options }: BundleOptions): Bundle => ({
  ...options,
  description,
  interceptors,
  components: options.components as readonly Component[],
});
