import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { Counter, counting, Sums } from './counter.js';
import { startInMemory } from './start-in-memory.js';

const folders = (): readonly string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('spool-in-memory-'));

describe('a bundle in memory', () => {
  it('decides, projects and answers as it does on a broker, and gives its events', async () => {
    await using whole = await startInMemory(counting, { now: 1000 });
    await whole.gateway.send(Counter, 'Add', 'a', { n: 2 });
    whole.advance(500);
    const { position } = await whole.gateway.send(Counter, 'Add', 'a', { n: 3 });
    expect((await whole.gateway.ask(Sums, 'Total', {}, { after: position })).view).toEqual({ events: 2, sum: 5 });
    expect(await whole.events()).toEqual([
      { source: 'Counter', type: 'Added', data: { n: 2 }, aggregateId: 'a', version: 1, at: 1000 },
      { source: 'Counter', type: 'Added', data: { n: 3 }, aggregateId: 'a', version: 2, at: 1500 },
    ]);
  });

  it('knows its payloads by name, for JSON', async () => {
    await using whole = await startInMemory(counting);
    const { position } = await whole.gateway.sendJson('Add', 'a', { n: 2 });
    await whole.until(position);
    expect((await whole.gateway.askJson('Total', {})).view).toEqual({ events: 1, sum: 2 });
  });

  it('waits for a position or a condition, and says so when it does not come', async () => {
    await using whole = await startInMemory(counting);
    const { position } = await whole.gateway.send(Counter, 'Add', 'a', { n: 2 });
    await whole.until(position);
    await whole.until(async () => (await whole.events()).length === 1);
    await expect(whole.until(() => false, 20)).rejects.toThrow('counting did not come to the condition within 20 ms');
  });

  it('leaves nothing behind', async () => {
    const before = folders();
    const whole = await startInMemory(counting);
    const [own] = folders().filter((name) => !before.includes(name));
    await whole.close();
    await whole.close();
    expect(own).toBeDefined();
    expect(existsSync(`${tmpdir()}/${own}`)).toBe(false);
  });
});
