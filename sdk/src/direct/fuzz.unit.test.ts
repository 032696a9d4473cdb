import { once } from 'node:events';
import { encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { conforming } from './conformance/bundle.js';
import { fromServer, path, protocol } from './frames.js';
import { connectDirect, serveDirect } from './running.js';
import { startTwo } from './testing.js';

it('a server answers any message with error frames or a close, and goes on for all others', async () => {
  await using two = await startTwo(conforming);
  const serving = await serveDirect(two.running[1]);
  const place = two.places()[1];
  const direct = connectDirect(two.running[0], { discovery: { find: () => [place] } });
  const authorization = `Bearer ${await (await two.running[0].endpoint.tokens()).issue(place.instance)}`;
  const call = fc.integer({ min: -1, max: 2 });
  const nearly = fc
    .record(
      {
        t: fc.constantFrom('query', 'command', 'stream', 'credit', 'cancel', 'reply'),
        call,
        id: fc.string(),
        type: fc.constantFrom('Add', 'Total', 'Count', ''),
        key: fc.option(fc.string()),
        value: fc.uint8Array(),
        events: fc.constantFrom(['Counted'], ['x'], []),
        after: fc.oneof(call, fc.string()),
        upTo: call,
        has: call,
        timeoutMs: fc.integer({ min: 0, max: 50 }),
        meta: fc.constantFrom({}, { context: 'x' }, { expectedVersion: -1 }),
      },
      { requiredKeys: ['t'] },
    )
    .map((frame) => encode(frame));
  const messages = fc.array(
    fc.oneof(
      nearly,
      fc.uint8Array(),
      fc.anything().map((each) => encode(JSON.stringify(each))),
    ),
    { maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(messages, async (sent) => {
      const ws = new WebSocket(`${place.url.replace('http', 'ws')}${path}`, protocol, { headers: { authorization } });
      const wrong: unknown[] = [];
      ws.on('message', (data) => {
        try {
          fromServer(data as Buffer);
        } catch (error) {
          wrong.push(error);
        }
      });
      await once(ws, 'open');
      for (const each of sent) ws.send(each);
      const closed = once(ws, 'close');
      ws.close();
      await closed;
      expect(wrong).toEqual([]);
    }),
    { numRuns: 60 },
  );
  expect(await direct.sendJson('Add', 'a', { n: 1 })).toMatchObject({ aggregateId: 'a' });
  await direct.close();
  await serving.close();
});
