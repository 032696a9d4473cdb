import type { Registry } from 'prom-client';
import { z } from 'zod';
import type { ReadinessResult } from './readiness.js';
import type { RequiredRole } from './roles.js';
import { route, type Route } from './route.js';

const readinessSchema = z
  .object({
    status: z.enum(['ready', 'not ready']),
    checks: z.array(z.object({ name: z.string(), ready: z.boolean(), reason: z.string().optional() })),
  })
  .meta({ id: 'Readiness' });

export interface OwnRoutesOptions {
  readonly readiness: () => Promise<readonly ReadinessResult[]>;
  readonly metrics: Registry;
  readonly metricsRole: RequiredRole;
  /** Made when first asked for. */
  readonly pages: () => { readonly document: string; readonly html: string; readonly styleHash: string };
}

/** The routes that each service has. */
export function ownRoutes({ readiness, metrics, metricsRole, pages }: OwnRoutesOptions): readonly Route[] {
  const common = { method: 'GET', tag: 'service', rateClass: 'unlimited' } as const;
  return [
    route({
      ...common,
      path: '/livez',
      summary: 'Whether the process answers at all',
      role: 'public',
      responses: { 200: { description: 'It does', schema: z.object({ status: z.literal('alive') }) } },
      handler: () => ({ status: 200, body: { status: 'alive' }, headers: { 'Cache-Control': 'no-store' } }),
    }),
    route({
      ...common,
      path: '/readyz',
      summary: 'Whether requests should be sent here, and if not, why',
      role: 'public',
      responses: {
        200: { description: 'All checks pass', schema: readinessSchema },
        503: { description: 'Some checks fail', schema: readinessSchema },
      },
      handler: async () => {
        const checks = [...(await readiness())];
        const headers = { 'Cache-Control': 'no-store' };
        return checks.every(({ ready }) => ready)
          ? { status: 200, body: { status: 'ready', checks }, headers }
          : { status: 503, body: { status: 'not ready', checks }, headers };
      },
    }),
    route({
      ...common,
      path: '/metrics',
      summary: 'Metrics for Prometheus',
      role: metricsRole,
      responses: { 200: { description: 'The text format of Prometheus', contentType: metrics.contentType } },
      handler: async () => ({ status: 200, body: await metrics.metrics() }),
    }),
    route({
      ...common,
      path: '/openapi.json',
      summary: 'This description',
      role: 'public',
      responses: { 200: { description: 'OpenAPI 3.1', contentType: 'application/json' } },
      handler: () => ({ status: 200, body: pages().document }),
    }),
    route({
      ...common,
      path: '/docs',
      summary: 'This description for people',
      role: 'public',
      responses: { 200: { description: 'One page without scripts or outside addresses', contentType: 'text/html; charset=utf-8' } },
      handler: () => {
        const { html, styleHash } = pages();
        return {
          status: 200,
          body: html,
          headers: {
            'Content-Security-Policy': `default-src 'none'; style-src '${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
          },
        };
      },
    }),
  ];
}
