import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { testKafka } from '@spool/embedded';
import { connectKafka } from '../kafka/kafkajs/connect.js';
import { indexLetters } from './letters.js';
import type { RetryNews } from './testing/retry-process.js';
import { openStage, type Stage } from './testing/stage.js';

const keys = 40;
const perKey = 25;

describe('dead letters on a real broker', () => {
  const id = randomUUID().slice(0, 8);
  const names = { input: `in-${id}`, log: `log-${id}`, consumer: `counter-${id}` };
  const [broker] = testKafka() as [string];
  const open = async (): Promise<Stage> => openStage(await connectKafka({ brokers: [broker], clientId: 'letters' }), names);

  it('are each retried once and in order, though the process is killed in the middle of its commits (Evento defect 8)', async () => {
    // 1. a thousand parked records
    {
      await using stage = await open();
      const records = Array.from({ length: keys * perKey }, (_, index) => `k${index % keys}:${Math.floor(index / keys)},`);
      await stage.send(...records);
      const processor = await stage.start('transactions', {
        handle: () => {
          throw new TypeError('poison');
        },
      });
      await processor.caughtUp();
    }
    // 2. killed at its second commit of letters, then at its third; the third process ends
    const children: ChildProcess[] = [];
    const retry = async (killAt: number): Promise<{ last: RetryNews | undefined; signal: unknown }> => {
      const child = fork(new URL('./testing/retry-process.js', import.meta.url), [broker, JSON.stringify(names)], { execArgv: [] });
      children.push(child);
      let last: RetryNews | undefined;
      child.on('message', (news: RetryNews) => {
        last = news;
        if ('commit' in news && news.commit === killAt) child.kill('SIGKILL');
      });
      const [, signal] = (await once(child, 'exit')) as unknown[];
      return { last, signal };
    };
    try {
      // The other task may have begun a commit of its own before the signal came.
      for (const killAt of [2, 3]) {
        expect(await retry(killAt)).toMatchObject({ signal: 'SIGKILL', last: { commit: expect.any(Number) as number } });
      }
      const { last } = await retry(Number.POSITIVE_INFINITY);
      expect(last).toHaveProperty('done');
      // What the killed ones had committed was not retried again.
      const [[records, failed]] = JSON.parse((last as { done: string }).done) as [[number, unknown]];
      expect([records < keys * perKey, failed]).toEqual([true, null]);
    } finally {
      for (const child of children) child.kill('SIGKILL');
    }
    // 3. what the log has, to a store that knows nothing
    await using stage = await open();
    const processor = await stage.start('transactions');
    await processor.caughtUp();
    const whole = Array.from({ length: perKey }, (_, index) => `${index},`).join('');
    expect(stage.rows()).toEqual(Object.fromEntries(Array.from({ length: keys }, (_, index) => [`k${index}`, whole])));
    expect(stage.handled).toEqual([]);
    for (const partition of [0, 1]) {
      expect(await indexLetters({ kafka: stage.kafka, partition: { topic: `dlq.${names.consumer}`, partition } })).toEqual([]);
    }
  }, 120_000);
});
