import { z } from 'zod';
import { route, type Route } from '../http/index.js';
import { replayRequest, replayView, type ReplayOrder, type ReplayService } from '../replay/index.js';
import { actorOf } from './messages.js';

const params = z.object({ id: z.string().max(100) });

/** Replays as resources. */
export function replayRoutes(replays: ReplayService): readonly Route[] {
  const order = (action: 'pause' | 'resume' | 'cancel', summary: string): Route =>
    route({
      method: 'POST',
      path: `/api/v1/replays/{id}/${action}`,
      summary,
      role: 'operator',
      params,
      responses: { 202: { description: 'Ordered', schema: replayView } },
      errors: ['UNKNOWN_REPLAY', 'INVALID_REQUEST', 'UNAVAILABLE'],
      handler: async (context) => ({ status: 202, body: await replays.order(context.params.id, { action }, actorOf(context.principal)) }),
    });
  return [
    route({
      method: 'POST',
      path: '/api/v1/replays',
      summary: 'Replay a projector from the log',
      description:
        'Rewinds the live consumer: it goes back, empties its read model if so asked, and projects its events anew. Others go on.',
      role: 'operator',
      body: replayRequest,
      responses: {
        200: { description: 'What would be replayed (dryRun)', schema: replayView },
        202: { description: 'Ordered', schema: replayView, headers: { Location: 'The replay' } },
      },
      errors: ['UNKNOWN_CONSUMER', 'OFFSET_OUT_OF_RANGE', 'REPLAY_RUNNING', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'],
      async handler(context) {
        const replay = await replays.start(context.body, actorOf(context.principal));
        if (context.body.dryRun) return { status: 200, body: replay };
        return { status: 202, body: replay, headers: { Location: `/api/v1/replays/${replay.id}` } };
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/replays',
      summary: 'All replays, the latest first',
      role: 'analyst',
      responses: { 200: { description: 'Replays', schema: z.object({ items: z.array(replayView) }) } },
      handler: () => ({ status: 200, body: { items: replays.list() } }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/replays/{id}',
      summary: 'The progress of a replay',
      role: 'analyst',
      params,
      responses: { 200: { description: 'The replay', schema: replayView } },
      errors: ['UNKNOWN_REPLAY'],
      handler: (context) => ({ status: 200, body: replays.get(context.params.id) }),
    }),
    order('pause', 'Hold a replay where it is'),
    order('resume', 'Go on with a replay that was held'),
    order('cancel', 'End a replay where it is; the rest is projected as new'),
    route({
      method: 'POST',
      path: '/api/v1/replays/{id}/throttle',
      summary: 'Limit the rate of a replay',
      role: 'operator',
      params,
      body: z.strictObject({ recordsPerSecond: z.number().positive().max(10_000_000).nullable().describe('null lifts the limit') }),
      responses: { 202: { description: 'Ordered', schema: replayView } },
      errors: ['UNKNOWN_REPLAY', 'INVALID_REQUEST', 'UNAVAILABLE'],
      async handler(context) {
        const wish: ReplayOrder = { action: 'throttle', ...context.body };
        return { status: 202, body: await replays.order(context.params.id, wish, actorOf(context.principal)) };
      },
    }),
  ];
}
