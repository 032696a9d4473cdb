import { SpoolError } from '@spool/schemas';
import { conforming, describeCalls, type Calls } from '@spool/sdk/direct/conformance';
import { startInMemory } from '@spool/sdk/testing';
import { openEventStore } from '../event-store/index.js';
import { startTestServer } from '../http/testing.js';
import { messageRoutes } from './message-routes.js';

/** As any program would call: by the documents of the API. */
function callsTo(base: string): Calls {
  const post = async (
    path: string,
    body: object,
    sent: { timeoutMs?: number | undefined; key?: string | undefined; signal?: AbortSignal | undefined },
  ) => {
    const response = await fetch(`${base}/api/v1/${path}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(sent.key === undefined ? {} : { 'idempotency-key': sent.key }),
        // Whole seconds.
        ...(sent.timeoutMs === undefined ? {} : { prefer: `wait=${Math.ceil(sent.timeoutMs / 1000)}` }),
      },
      body: JSON.stringify(body),
      signal: sent.signal ?? null,
    }).catch((cause: unknown) => {
      throw new SpoolError('UNAVAILABLE', 'no answer over HTTP', { cause, retryAfterMs: 0 });
    });
    const answer = (await response.json()) as Record<string, unknown>;
    if (!response.ok) throw Object.assign(new Error(String(answer['detail'])), { code: answer['code'], facts: answer });
    return answer as never;
  };
  return {
    sendJson: (type, aggregateId, payload, { commandId: key, expectedVersion, timeoutMs, signal } = {}) =>
      post(`commands/${type}`, { aggregateId: aggregateId ?? undefined, payload, expectedVersion }, { timeoutMs, key, signal }),
    askJson: (type, payload, { after, timeoutMs, signal } = {}) => post(`queries/${type}`, { payload, after }, { timeoutMs, signal }),
  };
}

describeCalls({
  name: 'HTTP',
  /** Who may send is settled by roles. */
  differences: { undeclared: 'taken', givesUp: true, streams: false },
  async open() {
    const whole = await startInMemory(conforming);
    const { gateway, registry, instance } = whole.running;
    const eventStore = openEventStore({ instance, registry, gateway });
    const server = await startTestServer({ routes: messageRoutes(gateway, registry, eventStore) });
    let closing: Promise<void> | undefined;
    const close = (): Promise<void> => (closing ??= server.close());
    return {
      calls: callsTo(`http://127.0.0.1:${server.port}`),
      close,
      async [Symbol.asyncDispose]() {
        await close();
        await eventStore.close();
        await whole.close();
      },
    };
  },
});
