import { toSpoolError } from '@spool/schemas';
import { z } from 'zod';
import { violationCodes, type EventStore, type Verifier, type Violation } from '../event-store/index.js';
import { openEventStream, route, type Route } from '../http/index.js';
import { messageType } from './messages.js';

/** Told of one source; the report counts them all. */
const maxTold = 1000;

/** What an aggregate's own events mend. */
const mended: readonly Violation['code'][] = ['SNAPSHOT_UNREADABLE', 'SNAPSHOT_HASH', 'SNAPSHOT_DIFFERS'];
/** Of one check, so that what is remembered is bounded. */
const maxRebuilt = 10_000;
const rebuildWithinMs = 30_000;

/** The check of the log, for whoever has no shell beside the brokers. */
export const verifyRoutes = (verifier: Verifier, eventStore: Pick<EventStore, 'rebuild'>): readonly Route[] => [
  route({
    method: 'POST',
    path: '/api/v1/event-store/verify',
    summary: 'Check the log of events and its snapshots',
    description: [
      'Reads the committed records of every event and snapshot, as `npm run verify` does, and answers with server-sent events: `violation` for each of the first',
      `${maxTold} things that are wrong with a source, \`report\` behind each source, \`rebuilt\` for each aggregate whose snapshots were, and \`done\` or`,
      '`failed` at the end. A snapshot that differs from its events tells of code that was changed without another codeVersion, or of an `evolve` that does not',
      'give the same state each time. Codes:',
      Object.entries(violationCodes)
        .map(([code, meaning]) => `${code} (${meaning})`)
        .join(', '),
    ].join(' '),
    role: 'operator',
    rateClass: 'costly',
    stream: true,
    body: z.strictObject({
      sources: z.array(messageType).max(100).default([]).describe('Aggregates, services and sagas; all if there is none'),
      from: z.iso
        .datetime({ offset: true })
        .optional()
        .describe('Only events from this time on; snapshots are then not compared')
        .transform((text) => (text === undefined ? undefined : Date.parse(text))),
      replay: z.boolean().default(true).describe('Compare snapshots with the fold of their events, for which the bundle has to run'),
      rebuild: z
        .boolean()
        .default(false)
        .describe(`Rebuild the snapshots of aggregates that have a wrong one, from their events; of ${maxRebuilt} at the most`),
    }),
    responses: { 200: { description: '`violation`, `report`, `rebuilt`, and `done` or `failed`' } },
    errors: ['UNKNOWN_AGGREGATE', 'OVERLOADED', 'KAFKA_UNAVAILABLE'],
    async handler(context) {
      const check = await verifier.prepare(context.body);
      const stop = new AbortController();
      const stream = openEventStream(context);
      void stream.ended.then(() => stop.abort());
      const tell = (event: string, data: unknown): void => void stream.send({ event, data: JSON.stringify(data) });
      let told = 0;
      let violations = 0;
      const wrong = new Map<string, Pick<Violation, 'aggregateType' | 'aggregateId'>>();
      try {
        await check({
          signal: stop.signal,
          onViolation(violation) {
            const { code, aggregateType, aggregateId } = violation;
            const mend = context.body.rebuild && mended.includes(code) && wrong.size < maxRebuilt;
            if (mend) wrong.set(`${aggregateType}/${aggregateId}`, { aggregateType, aggregateId });
            told += 1;
            if (told <= maxTold) tell('violation', violation);
          },
          onReport(report) {
            told = 0;
            violations += report.violations;
            tell('report', report);
          },
        });
        for (const each of wrong.values()) {
          stop.signal.throwIfAborted();
          const asked = { deadline: Date.now() + rebuildWithinMs, actor: context.principal.name };
          const made = await eventStore.rebuild(each.aggregateType, each.aggregateId, asked).then(
            (version) => ({ version }),
            (thrown: unknown) => {
              const { code, message, entry } = toSpoolError(thrown);
              // The next one would not go better.
              if (entry.retryable !== 'never') throw thrown;
              return { failed: { code, detail: message } };
            },
          );
          tell('rebuilt', { ...each, ...made });
          await stream.ready();
        }
        tell('done', { violations });
      } catch (thrown) {
        const { code, message } = toSpoolError(thrown);
        tell('failed', { code, detail: message });
      }
      await stream.close();
    },
  }),
];
