import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { openEventStream, route, type Route } from '../http/index.js';
import { replayRequest, replayView, reportView, type ReplayOrder, type ReplayService } from '../replay/index.js';
import { actorOf, commandIdOf } from './messages.js';

const params = z.object({ id: z.string().max(100) });

/** Nothing changes in these any more by itself. */
const over: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'rolledBack']);
/** Progress is told at most so often. */
const everyMs = 200;

/** Replays as resources. */
export function replayRoutes(replays: ReplayService): readonly Route[] {
  const order = (action: Exclude<ReplayOrder['action'], 'throttle'>, summary: string): Route =>
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
        'Rewinds the live consumer, builds a second copy beside it to be promoted (shadow), or builds one, reports how it differs, and throws it ' +
        'away (scratch). Others go on.',
      role: 'operator',
      headers: z.object({ 'idempotency-key': z.string().optional().describe('The same request with the same key is the same replay') }),
      body: replayRequest,
      responses: {
        200: { description: 'What would be replayed (dryRun)', schema: replayView },
        202: { description: 'Ordered', schema: replayView, headers: { Location: 'The replay' } },
      },
      errors: [
        ...(['UNKNOWN_CONSUMER', 'INVALID_REQUEST', 'OFFSET_OUT_OF_RANGE', 'UNKNOWN_AGGREGATE', 'NOT_FOUND', 'EXPIRED'] as const),
        ...(['REPLAY_RUNNING', 'IDEMPOTENCY_KEY_REUSED', 'OVERLOADED', 'UNAVAILABLE', 'KAFKA_UNAVAILABLE'] as const),
      ],
      async handler(context) {
        const replay = await replays.start(context.body, actorOf(context.principal), commandIdOf(context.headers['idempotency-key']));
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
    route({
      method: 'GET',
      path: '/api/v1/replays/{id}/events',
      summary: 'The progress of a replay as it changes, until it has ended',
      description: 'Server-sent events of type `replay`; the data is what GET of the replay gives.',
      role: 'analyst',
      params,
      stream: true,
      responses: { 200: { description: 'Server-sent events', contentType: 'text/event-stream' } },
      errors: ['UNKNOWN_REPLAY'],
      async handler(context) {
        const { id } = context.params;
        let last = '';
        let wake = (): void => undefined;
        replays.get(id);
        const stream = openEventStream(context);
        const forget = replays.onChange(() => wake());
        const gone = new AbortController();
        void stream.ended.then(() => gone.abort());
        try {
          while (!gone.signal.aborted) {
            const changed = new Promise<void>((resolve) => (wake = resolve));
            const view = replays.get(id);
            const data = JSON.stringify(view);
            if (data !== last) stream.send({ event: 'replay', data: (last = data) });
            if (over.has(view.state)) break;
            await Promise.race([Promise.all([changed, sleep(everyMs)]), stream.ended]);
          }
          await stream.close();
        } finally {
          forget();
        }
      },
    }),
    order('pause', 'Hold a replay where it is'),
    order('resume', 'Go on with a replay that was held'),
    order('cancel', 'End a replay where it is: of a rewind the rest is projected as new, a copy is removed'),
    order('promote', 'Answer from the copy of a shadow replay, which is ready: from one position on, on every instance'),
    order('rollback', 'Answer from the copy before again, when it has caught up'),
    order('drop', 'Remove the copy that does not answer'),
    route({
      method: 'GET',
      path: '/api/v1/replays/{id}/report',
      summary: 'How the copy of a scratch replay differs from the live read model',
      role: 'analyst',
      params,
      responses: { 200: { description: 'Counts and samples', schema: reportView } },
      errors: ['UNKNOWN_REPLAY', 'NOT_FOUND'],
      handler: (context) => ({ status: 200, body: replays.report(context.params.id) }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/replays/{id}/differences',
      summary: 'Every row in which the copy of a scratch replay differs, one JSON document a line; kept for a week',
      role: 'analyst',
      params,
      stream: true,
      responses: { 200: { description: 'Lines of `{ table, key, live, copy }`', contentType: 'application/x-ndjson' } },
      errors: ['UNKNOWN_REPLAY', 'NOT_FOUND', 'KAFKA_UNAVAILABLE'],
      async handler({ params: { id }, response, signal }) {
        const lines = replays.differences(id);
        // What is wrong shows before the first line.
        const first = await lines.next();
        const file = { 'Content-Type': 'application/x-ndjson', 'Content-Disposition': `attachment; filename="replay-${id}.ndjson"` };
        response.writeHead(200, file);
        const all = async function* (): AsyncGenerator<string> {
          if (first.done !== true) yield first.value;
          yield* lines;
        };
        await pipeline(all, response, { signal });
      },
    }),
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
