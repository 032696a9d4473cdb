import { createCodec, createMemoryRegistry, record, SpoolError, type Reply } from '@spool/schemas';
import { topicCatalogue, type Producer, type ProducerRecord } from '@spool/streams';
import { aggregate } from '../aggregate/aggregate.js';
import type { Registry } from '../registry/registry.js';
import { createGateway } from './gateway.js';
import type { Replies } from './replies.js';

const Add = record('gateway.Add', { n: 'int' });
const Counter = aggregate('Counter', { commands: { Add }, events: {}, initial: () => 0, decide: { Add: () => [] }, evolve: {} });
const reply: Reply = { outcome: 'applied', version: 1, events: [], position: '', view: null, problem: null };

/** A gateway of which the test holds both ends. */
function stage(maxInFlight: number) {
  const sent: ProducerRecord[] = [];
  const waiting: { readonly resolve: (reply: Reply) => void; readonly reject: (error: unknown) => void }[] = [];
  const gateway = createGateway({
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue(),
    producer: { send: (made: ProducerRecord) => Promise.resolve(void sent.push(made)) } as unknown as Producer,
    replies: {
      address: { topic: 'replies', partition: 0 },
      get waiting() {
        return waiting.length;
      },
      wait: () => new Promise((resolve, reject) => waiting.push({ resolve, reject })),
    } as unknown as Replies,
    registry: {} as Registry,
    source: 'test',
    now: () => 0,
    maxInFlight,
  });
  const failure = (pending: Promise<unknown>): Promise<unknown> =>
    pending.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  return { sent, waiting, failure, send: (timeoutMs = 10_000) => gateway.send(Counter, 'Add', 'a', { n: 1 }, { timeoutMs }) };
}

describe('a gateway', () => {
  it('says the deadline in whole milliseconds, whatever is left of it: another number is none to who reads it', async () => {
    const { sent, waiting, send } = stage(1);
    const pending = send(9999.25);
    while (waiting.length < 1) await new Promise(setImmediate);
    expect(sent[0]!.headers).toMatchObject({ deadline: '9999' });
    waiting.shift()!.resolve(reply);
    await pending;
  });

  it('refuses what is too much before anything is made of it, and takes the next when there is an answer', async () => {
    const { sent, waiting, failure, send } = stage(2);
    const first = send();
    while (waiting.length < 1) await new Promise(setImmediate);
    const second = send();
    while (waiting.length < 2) await new Promise(setImmediate);
    const [third, fourth] = [await failure(send()), await failure(send())];
    expect(third).toMatchObject({ code: 'OVERLOADED', retryAfterMs: 1000 });
    // An error of one's own costs more than a command.
    expect(fourth).toBe(third);
    expect(sent).toHaveLength(2);

    waiting.shift()!.resolve(reply);
    expect(await first).toMatchObject({ status: 'applied', version: 1 });
    const again = send();
    while (waiting.length < 2) await new Promise(setImmediate);
    for (const { resolve } of waiting.splice(0)) resolve(reply);
    expect([(await second).status, (await again).status]).toEqual(['applied', 'applied']);
  });

  it('says how a command failed, and lets the next one in', async () => {
    const { waiting, failure, send } = stage(1);
    const lost = failure(send());
    while (waiting.length < 1) await new Promise(setImmediate);
    waiting.shift()!.reject(new SpoolError('INDETERMINATE', 'no reply'));
    expect(await lost).toMatchObject({ code: 'INDETERMINATE' });
    const late = failure(send());
    while (waiting.length < 1) await new Promise(setImmediate);
    waiting.shift()!.resolve({ ...reply, outcome: 'expired' });
    expect(await late).toMatchObject({ code: 'EXPIRED' });
  });
});
