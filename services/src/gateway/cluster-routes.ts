import type { InstanceRow } from '@spool/schemas';
import type { Instances } from '@spool/sdk';
import { z } from 'zod';
import { clusterSettings, type Drains, type SettingsService } from '../cluster/index.js';
import { etagOf, isNotModified, route, type Route } from '../http/index.js';
import { actorOf } from './messages.js';
import { changesRoute, listRoute } from './table-routes.js';

const instanceView = z.object({
  instance: z.string(),
  bundle: z.string(),
  version: z.string(),
  state: z.enum(['starting', 'up', 'suspect', 'down', 'draining', 'gone', 'unknown']),
  since: z.iso.datetime().describe('When it entered the state'),
  reason: z.string().describe('Why it entered the state'),
  startedAt: z.iso.datetime(),
  host: z.string(),
  pid: z.int(),
});
const viewOf = ({ instance, bundle, version, state, since, reason, startedAt, host, pid }: InstanceRow): z.input<typeof instanceView> => ({
  instance,
  bundle,
  version,
  state,
  since: new Date(since).toISOString(),
  reason,
  startedAt: new Date(startedAt).toISOString(),
  host,
  pid,
});
const configView = clusterSettings.extend({
  version: z.int(),
  actor: z.string().describe('Who changed it last; empty for what holds by default'),
  at: z.iso.datetime().nullable(),
});

export interface ClusterRoutesOptions {
  readonly instances: Instances;
  readonly drains: Drains;
  readonly settings: SettingsService;
}

/** Who runs, how they are to be watched, and how one is emptied before it is stopped. */
export function clusterRoutes({ instances, drains, settings }: ClusterRoutesOptions): readonly Route[] {
  const shown = (): z.input<typeof configView> => {
    const { at, ...rest } = settings.current;
    return { ...rest, at: at === 0 ? null : new Date(at).toISOString() };
  };
  return [
    listRoute({
      path: '/api/v1/cluster/instances',
      summary: 'The instances of the cluster',
      item: instanceView,
      tables: [instances.table],
      read: () => instances.list().map(viewOf),
    }),
    changesRoute({
      path: '/api/v1/cluster/instances/changes',
      summary: 'The changes of instances, as they happen',
      table: instances.table,
      view: viewOf,
      idOf: (key) => key.slice(key.indexOf('/') + 1),
    }),
    route({
      method: 'POST',
      path: '/api/v1/cluster/instances/{id}/drain',
      summary: 'Let an instance finish, so that it can be stopped',
      description:
        'Its processors finish what is under way and leave their groups. It goes on running, in the state draining, until it is stopped.',
      role: 'operator',
      params: z.object({ id: z.string().min(1).max(200) }),
      body: z.strictObject({ reason: z.string().min(1).max(500).describe('Why; kept in the audit log') }),
      responses: { 202: { description: 'Ordered; its state tells when it is drained', schema: instanceView } },
      errors: ['UNKNOWN_INSTANCE', 'INVALID_REQUEST', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      handler: async ({ params, body, principal }) => ({
        status: 202,
        body: viewOf(await drains.order(params.id, body.reason, actorOf(principal))),
      }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/cluster/config',
      summary: 'The settings of the cluster',
      role: 'analyst',
      headers: z.object({ 'if-none-match': z.string().optional() }),
      responses: {
        200: { description: 'As every instance follows them', schema: configView, headers: { ETag: 'The version' } },
        304: { description: 'Still at the version of If-None-Match' },
      },
      handler({ headers }) {
        const { version } = settings.current;
        const etag = { ETag: etagOf(version) };
        if (isNotModified(headers['if-none-match'], version)) return { status: 304, headers: etag };
        return { status: 200, body: shown(), headers: etag };
      },
    }),
    route({
      method: 'PATCH',
      path: '/api/v1/cluster/config',
      summary: 'Change settings of the cluster while it runs',
      description: 'What is left out stays. Every instance follows at once, without a restart.',
      role: 'operator',
      body: clusterSettings.partial(),
      headers: z.object({ 'if-match': z.string().optional() }),
      responses: { 200: { description: 'The settings from now on', schema: configView, headers: { ETag: 'The version' } } },
      errors: ['PRECONDITION_FAILED', 'INVALID_REQUEST', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler({ body, headers, principal }) {
        const { at, ...rest } = await settings.change(body, headers['if-match'], actorOf(principal));
        return { status: 200, body: { ...rest, at: new Date(at).toISOString() }, headers: { ETag: etagOf(rest.version) } };
      },
    }),
  ];
}
