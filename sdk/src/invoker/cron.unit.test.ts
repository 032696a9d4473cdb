import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCodec, createMemoryRegistry, SpoolError } from '@spool/schemas';
import { createMemoryCluster, tailTopic, topicCatalogue, type ConsumedRecord } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import { startBundle, type RunningBundle } from '../host/start-bundle.js';
import { only } from '../messages.js';
import { Counter } from '../testing/counter.js';
import { startInMemory, type BundleInMemory } from '../testing/start-in-memory.js';
import { cron, type Tick } from './cron.js';

const noon = Date.UTC(2001, 0, 1, 12);
const minute = 60_000;
const Adds = only(Counter, 'Add');
const ofBundle = (...components: Parameters<typeof bundle>[0]['components']) =>
  bundle({ id: 'ticking', version: '1.0.0', components: [Counter, ...components] });
const iso = (at: number): string => new Date(at).toISOString();
/** Its consumer owns the task and has set its first tick. */
const begun = ({ running }: BundleInMemory): boolean =>
  running.instance
    .status()
    .some(({ consumer, partitions }) => consumer === 'ticking.Adder-1.default' && partitions.some(({ position }) => position > 0n));

describe('a cron invoker', () => {
  it('runs each tick once, with ids for what it sends that follow from the tick', async () => {
    const Adder = cron('Adder', {
      schedule: '* * * * *',
      sends: [Adds],
      run: async ({ at }, { commands }) => {
        await commands.send(Counter, 'Add', 'a', { n: 1 });
        await commands.send(Counter, 'Add', iso(at), { n: 2 });
      },
    });
    await using whole = await startInMemory(ofBundle(Adder), { now: noon + 1000 });
    await whole.until(() => begun(whole));
    whole.advance(minute);
    await whole.until(async () => (await whole.events()).length === 2);
    whole.advance(2 * minute);
    await whole.until(async () => (await whole.events()).length === 6);
    expect((await whole.events()).map(({ aggregateId, version }) => `${aggregateId}@${version}`).sort()).toEqual(
      ['a@1', 'a@2', 'a@3', ...[1, 2, 3].map((n) => `${iso(noon + n * minute)}@1`)].sort((a, b) => (a < b ? -1 : 1)),
    );
    const repeated = await whole.gateway.send(Counter, 'Add', 'a', { n: 1 }, { commandId: `Adder/${iso(noon + minute)}/0` });
    expect(repeated.status).toBe('duplicate');
  });

  it('tries a tick again that failed for the moment, and parks one that failed for good; those after it run', async () => {
    const seen: string[] = [];
    let failures = 0;
    const Adder = cron('Adder', {
      schedule: '* * * * *',
      sends: [Adds],
      run: async ({ at, id }, { commands }) => {
        seen.push(id);
        if (at === noon + minute && failures++ === 0) throw new SpoolError('OVERLOADED', 'for the moment');
        if (at === noon + 2 * minute) throw new TypeError('a bug');
        await commands.send(Counter, 'Add', 'a', { n: 1 });
      },
    });
    await using whole = await startInMemory(ofBundle(Adder), { now: noon + 1000 });
    await whole.until(() => begun(whole));
    for (const expected of [1, 1, 2]) {
      whole.advance(minute);
      await whole.until(
        async () =>
          (await whole.events()).length === expected &&
          seen.at(-1) === `Adder/${iso(Math.floor(whole.running.instance.now() / minute) * minute)}`,
      );
    }
    expect(seen).toEqual([1, 1, 2, 3].map((n) => `Adder/${iso(noon + n * minute)}`));
    const { kafka, topics } = whole.running.instance;
    const letters: string[] = [];
    const onRecord = ({ headers }: ConsumedRecord): void =>
      void letters.push(`${headers['dlq-timer']} ${headers['dlq-timer-at']} ${headers['dlq-message']}`);
    await using _ = await tailTopic({
      kafka,
      topic: topics.deadLetters('ticking.Adder-1.default').name,
      onRecord,
      onError: (error) => letters.push(String(error)),
    });
    expect(letters).toEqual([`run ${iso(noon + 2 * minute)} a bug`]);
  });

  it('sends nothing more when its time is up, and the next tick runs', async () => {
    const sent: unknown[] = [];
    const Adder = cron('Adder', {
      schedule: '* * * * *',
      timeoutMs: 50,
      sends: [Adds],
      run: async ({ at }, { commands, signal }) => {
        if (at === noon + minute) await new Promise((resolve) => signal.addEventListener('abort', resolve));
        sent.push(await commands.send(Counter, 'Add', 'a', { n: at === noon + minute ? 100 : 1 }).catch((error: unknown) => String(error)));
      },
    });
    await using whole = await startInMemory(ofBundle(Adder), { now: noon + 1000 });
    await whole.until(() => begun(whole));
    whole.advance(minute);
    await whole.until(() => sent.length === 1);
    expect(sent).toEqual([`Error: the run of Adder/${iso(noon + minute)} took longer than 50 ms`]);
    whole.advance(minute);
    await whole.until(async () => (await whole.events()).length === 1);
    expect(await whole.events()).toMatchObject([{ data: { n: 1 } }]);
  });

  describe('with other instances', () => {
    const folders: string[] = [];
    const open: RunningBundle[] = [];
    const topics = topicCatalogue({ partitions: 1 });
    let clock = 0;
    let ran: Tick[] = [];
    let platform: { cluster: ReturnType<typeof createMemoryCluster>; codec: ReturnType<typeof createCodec> };
    const start = async (
      instance: string,
      options: { readonly schedule?: string; readonly missed?: 'run' | 'skip' } = {},
    ): Promise<RunningBundle> => {
      const Adder = cron('Adder', { schedule: '* * * * *', ...options, run: (tick) => Promise.resolve(void ran.push(tick)) });
      const dataDir = mkdtempSync(join(tmpdir(), 'spool-cron-'));
      folders.push(dataDir);
      const { cluster, codec } = platform;
      const config = { kafka: cluster.connect(), codec, topics, instance, dataDir, log: () => undefined, now: () => clock };
      const running = await startBundle(ofBundle(Adder), config);
      open.push(running);
      return running;
    };
    const until = async (condition: () => boolean): Promise<void> => {
      for (const deadline = performance.now() + 10_000; !condition();) {
        if (performance.now() > deadline)
          throw new Error(`the condition did not come true; ran ${ran.map(({ at }) => iso(at)).join(', ')}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    /** And it has heard that it does: each new owner says so with one record. */
    const owns = ({ instance }: RunningBundle, owners = 1): boolean =>
      instance
        .status()
        .some(
          ({ consumer, partitions }) =>
            consumer === 'ticking.Adder-1.default' && partitions.some(({ position }) => position >= BigInt(owners)),
        );

    beforeEach(() => {
      clock = noon + 1000;
      ran = [];
      platform = { cluster: createMemoryCluster({ clock: () => clock }), codec: createCodec({ registry: createMemoryRegistry() }) };
    });
    afterEach(async () => {
      for (const each of open.splice(0)) await each.close();
      for (const each of folders.splice(0)) rmSync(each, { recursive: true, force: true });
    });
    const minutes = (): readonly number[] => ran.map(({ at }) => (at - noon) / minute);

    it('runs each tick on one of them, and goes on where another stopped', async () => {
      const one = await start('a');
      const two = await start('b');
      await until(() => owns(one) !== owns(two));
      clock += minute;
      await until(() => ran.length === 1);
      await (owns(one) ? one : two).close();
      clock += minute;
      await until(() => ran.length === 2);
      clock += minute;
      await until(() => ran.length === 3);
      expect(minutes()).toEqual([1, 2, 3]);
    });

    it.each([
      ['run', [1, 2, 3, 4, 5, 6]],
      ['skip', [1, 4, 5, 6]],
    ] as const)('deals with the ticks that were due while nothing ran: %s', async (missed, expected) => {
      const one = await start('a', { missed });
      await until(() => owns(one));
      clock += minute;
      await until(() => ran.length === 1);
      await one.close();
      clock = noon + 4.5 * minute + 29_000;
      const two = await start('b', { missed });
      await until(() => owns(two) && ran.at(-1)?.at === noon + 4 * minute);
      clock += minute;
      await until(() => ran.at(-1)?.at === noon + 5 * minute);
      clock += minute;
      await until(() => ran.at(-1)?.at === noon + 6 * minute);
      expect(minutes()).toEqual(expected);
    });

    it('goes by the schedule of the code that owns it', async () => {
      const one = await start('a');
      await until(() => owns(one));
      await one.close();
      const two = await start('a', { schedule: '*/10 * * * *' });
      await until(() => owns(two, 2));
      clock = noon + 10.1 * minute;
      await until(() => ran.length > 0);
      expect(minutes()).toEqual([10]);
    });
  });

  it('is refused with what is wrong with its schedule', () => {
    const run = () => Promise.resolve();
    expect(() => cron('Adder', { schedule: 'every day', run })).toThrow(/^cron Adder: "every day" in UTC is no schedule: /);
    expect(() => cron('Adder', { schedule: '* * * * *', timeZone: 'Mars/Base', run })).toThrow(/^cron Adder: .*Mars\/Base is no schedule/);
    expect(() => cron('Adder', { schedule: '* * * * *', timeoutMs: 60_000, run })).toThrow('cron Adder: timeoutMs is 60000');
  });

  it('reads its schedule in its time zone', () => {
    const daily = cron('Daily', { schedule: '0 9 * * *', timeZone: 'Europe/Berlin', run: () => Promise.resolve() });
    expect(iso(daily.after(noon)!)).toBe('2001-01-02T08:00:00.000Z');
    expect(cron('Utc', { schedule: '0 9 * * *', run: () => Promise.resolve() }).after(noon)).toBe(Date.UTC(2001, 0, 2, 9));
  });
});
