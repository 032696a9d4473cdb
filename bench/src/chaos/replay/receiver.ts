import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Effect } from './counting.js';

/** Stands outside and counts what the handlers do there. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  /** Effects that have come since the last `clear`. */
  readonly count: number;
  clear(): void;
  /** @returns what is doubled or missing of so many events, which each of the instances acts on once */
  wrong(events: number, instances: number): readonly string[];
}

export async function openReceiver(): Promise<Receiver> {
  let received = new Map<string, number>();
  let count = 0;
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { eventId, instance } = JSON.parse(body) as Effect;
      const key = `${eventId} by ${instance}`;
      received.set(key, (received.get(key) ?? 0) + 1);
      count += 1;
      response.end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get count() {
      return count;
    },
    clear() {
      received = new Map();
      count = 0;
    },
    wrong(events, instances) {
      const found = [...received].filter(([, times]) => times > 1).map(([key, times]) => `effect: ${key} was made ${times} times`);
      if (received.size !== events * instances)
        found.push(`effect: ${received.size} were made, of ${events} events on ${instances} instances`);
      return found;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
