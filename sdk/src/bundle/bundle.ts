import type { Aggregate } from '../aggregate/aggregate.js';
import type { Invoker } from '../invoker/invoker.js';
import type { Projection } from '../projection/projection.js';
import type { Projector } from '../projector/projector.js';

export type Component = Aggregate | Projector | Projection | Invoker;

export interface Bundle {
  readonly id: string;
  readonly version: string;
  readonly description: string;
  readonly components: readonly Component[];
}

export interface BundleOptions {
  /** Lower-case letters, digits and dashes. */
  readonly id: string;
  /** Semantic version. */
  readonly version: string;
  readonly description?: string;
  /** Aggregates, projectors, projections and invokers, as their builders give them. */
  readonly components: readonly { readonly kind: Component['kind']; readonly name: string }[];
}

/** A deployable unit. `startBundle` runs it, `describe` gives its descriptor. */
export const bundle = ({ description = '', ...options }: BundleOptions): Bundle => ({
  ...options,
  description,
  components: options.components as readonly Component[],
});
