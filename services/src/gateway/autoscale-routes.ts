import { SpoolError, type BalanceDecision, type ScalingPolicy } from '@spool/schemas';
import { z } from 'zod';
import { scalingPolicy, type Balances, type Policies } from '../autoscaler/index.js';
import { etagOf, route, type Route } from '../http/index.js';
import { actorOf } from './messages.js';
import { listRoute } from './table-routes.js';

const figure = z.number();
const decisionView = z.object({
  bundle: z.string(),
  desired: z.int().describe("Instances that it is to have; what KEDA's metrics-api asks for"),
  current: z.int().describe('Instances that it has, starting ones too'),
  min: z.int(),
  max: z.int(),
  reason: z.string().describe('Why'),
  byUtilisation: figure.describe('Instances that keep the wanted utilisation'),
  byDrain: figure.describe('Instances that drain what waits in time'),
  predictedDrainMs: figure.nullable().describe('Time until nothing waits; null when it cannot be known'),
  load: z
    .object({
      instances: z.int(),
      starting: z.int(),
      partitions: z.int(),
      arrivals: figure.describe('Messages a second'),
      departures: figure.describe('Messages a second'),
      utilisation: figure,
      busiest: figure,
      lag: z.int().describe('Records that wait'),
      lagSeconds: figure,
      p99Ms: figure,
      eventLoopDelayMs: figure,
      suffering: z.int().describe('Instances that suffer'),
      bored: z.int().describe('Instances that are bored'),
      frozen: z.string().nullable().describe('replay or rebalance: the figures tell of it, and nothing is changed'),
    })
    .describe('What it was decided from'),
  at: z.iso.datetime(),
});
function viewOf({ id: _, actualDrainMs: __, ...decision }: BalanceDecision): z.input<typeof decisionView> {
  const { bundle, desired, current, min, max, reason, byUtilisation, byDrain, predictedDrainMs, at, ...load } = decision;
  const made = { bundle, desired, current, min, max, reason, byUtilisation, byDrain, predictedDrainMs };
  return { ...made, load, at: new Date(at).toISOString() };
}
const policyView = scalingPolicy.extend({
  bundle: z.string(),
  version: z.int().describe('0: nobody has said anything, and this holds by default'),
  actor: z.string(),
  at: z.iso.datetime().nullable(),
});
const shown = ({ at, ...policy }: ScalingPolicy): z.input<typeof policyView> => ({
  ...policy,
  at: at === 0 ? null : new Date(at).toISOString(),
});

export interface AutoscaleRoutesOptions {
  readonly balances: Balances;
  readonly policies: Policies;
}

const params = z.object({ bundle: z.string().min(1).max(200) });

/** How many instances each bundle is to have, and why. */
export const autoscaleRoutes = ({ balances, policies }: AutoscaleRoutesOptions): readonly Route[] => [
  listRoute({
    path: '/api/v1/autoscale',
    summary: 'How many instances each bundle is to have',
    item: decisionView,
    tables: [balances.table],
    read: () => balances.list().map(viewOf),
  }),
  route({
    method: 'GET',
    path: '/api/v1/autoscale/{bundle}',
    summary: 'How many instances a bundle is to have, and why',
    description: "The latest decision. KEDA's metrics-api scaler reads `desired` here.",
    role: ['bundle', 'analyst'],
    params,
    responses: { 200: { description: 'The decision', schema: decisionView } },
    errors: ['UNKNOWN_BUNDLE'],
    handler({ params: { bundle } }) {
      const decision = balances.get(bundle);
      if (decision === undefined) throw new SpoolError('UNKNOWN_BUNDLE', `no instance of ${bundle} has been heard yet`);
      return { status: 200, body: viewOf(decision) };
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/autoscale/{bundle}/policy',
    summary: 'What the owner of a bundle wants of the balancer',
    role: 'analyst',
    params,
    responses: { 200: { description: 'The policy', schema: policyView, headers: { ETag: 'The version' } } },
    handler({ params: { bundle } }) {
      const policy = policies.of(bundle);
      return { status: 200, body: shown(policy), headers: { ETag: etagOf(policy.version) } };
    },
  }),
  route({
    method: 'PATCH',
    path: '/api/v1/autoscale/{bundle}/policy',
    summary: 'Change what is wanted of the balancer',
    description: 'What is left out stays. It may be said before the bundle runs; the next decision follows it.',
    role: 'operator',
    params,
    body: scalingPolicy.partial(),
    headers: z.object({ 'if-match': z.string().optional() }),
    responses: { 200: { description: 'The policy from now on', schema: policyView, headers: { ETag: 'The version' } } },
    errors: ['PRECONDITION_FAILED', 'INVALID_REQUEST', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
    async handler({ params: { bundle }, body, headers, principal }) {
      const policy = await policies.change(bundle, body, headers['if-match'], actorOf(principal));
      return { status: 200, body: shown(policy), headers: { ETag: etagOf(policy.version) } };
    },
  }),
];
