import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { offset } from '../kafka/port.js';
import { openLmdbStore } from './lmdb-store.js';
import { createMemoryStore } from './memory-store.js';
import { stage } from './staged.js';
import { writeBehind } from './write-behind.js';
import { emptyCheckpoint, type Store, type StoreCheckpoint, type TableChanges } from './store.js';

const folders: string[] = [];
const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'spool-store-'));
  folders.push(path);
  return path;
};
afterAll(() => folders.forEach((path) => rmSync(path, { recursive: true, force: true })));

function fail(error: unknown): void {
  throw error as Error;
}
const changes = (rows: Record<string, unknown>, name = 'rows'): ReadonlyMap<string, TableChanges> =>
  new Map([[name, new Map(Object.entries(rows))]]);
const at = (position: number): StoreCheckpoint => ({ ...emptyCheckpoint, positions: new Map([['evt.A-0', offset(position)]]) });

describe.each<[string, () => Store]>([
  ['memory', createMemoryStore],
  ['LMDB', () => openLmdbStore({ path: folder() })],
  ['write-behind', () => writeBehind(openLmdbStore({ path: folder() }), { gatherMs: 1, onError: fail })],
])('a store: %s', (_, open) => {
  it('keeps rows and checkpoint of a commit together (Evento defect 3)', async () => {
    await using store = open();
    store.commit(changes({ a: { n: 1 }, b: { n: 2 } }), at(7));
    store.commit(changes({ a: undefined }), at(9));
    expect([store.get('rows', 'a'), store.get('rows', 'b'), store.count('rows')]).toEqual([undefined, { n: 2 }, 1]);
    expect(store.checkpoint.positions.get('evt.A-0')).toBe(9n);
  });

  it('gives rows in the byte order of their keys, within bounds, either way', async () => {
    await using store = open();
    store.commit(changes({ a: 1, 'a/b': 2, b: 3, é: 4, '😀': 5, '｡': 6 }), emptyCheckpoint);
    const keys = (options?: Parameters<Store['range']>[1]) => [...store.range('rows', options)].map(([key]) => key);
    expect(keys()).toEqual(['a', 'a/b', 'b', 'é', '｡', '😀']);
    expect(keys({ from: 'a/b', to: 'é' })).toEqual(['a/b', 'b']);
    expect(keys({ from: 'a/b', to: 'é', reverse: true })).toEqual(['b', 'a/b']);
    expect(keys({ to: 'c', reverse: true, limit: 2 })).toEqual(['b', 'a/b']);
  });

  it('empties every table with the checkpoint of a rewind', async () => {
    await using store = open();
    store.commit(changes({ a: 1 }), at(5));
    store.commit(changes({ x: 1 }, 'others'), at(6));
    store.clear({ ...at(0), epoch: 3n });
    expect([store.count('rows'), store.count('others'), store.checkpoint.epoch]).toEqual([0, 0, 3n]);
    expect(store.checkpoint.positions.get('evt.A-0')).toBe(0n);
  });

  it('does not share what it holds with whoever wrote it', async () => {
    await using store = open();
    const row = { list: [1] };
    store.commit(changes({ a: row }), emptyCheckpoint);
    row.list.push(2);
    expect(store.get('rows', 'a')).toEqual({ list: [1] });
  });

  it('reads staged rows as a plain map would, whatever is staged on whatever is stored', async () => {
    const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
    const rows = fc.dictionary(key, fc.option(fc.integer(), { nil: undefined }), { noNullPrototype: true });
    const range = fc.record({ from: key, to: key, limit: fc.nat(5), reverse: fc.boolean() }, { requiredKeys: [] });
    await fc.assert(
      fc.asyncProperty(rows, rows, range, async (stored, written, options) => {
        await using store = open();
        store.commit(changes(stored), emptyCheckpoint);
        const staged = stage(store).table<number>('rows');
        const model = new Map(Object.entries(stored).filter(([, value]) => value !== undefined));
        for (const [name, value] of Object.entries(written)) {
          if (value === undefined) {
            staged.delete(name);
            model.delete(name);
          } else {
            staged.put(name, value);
            model.set(name, value);
          }
        }
        const { from = '', to = 'z', limit = 10, reverse = false } = options;
        const wanted = [...model].filter(([name]) => name >= from && name < to).sort(([a], [b]) => (a < b ? -1 : 1));
        if (reverse) wanted.reverse();
        expect([...staged.range(options)]).toEqual(wanted.slice(0, limit));
      }),
      { numRuns: 60 },
    );
  });
});

describe('staged writes', () => {
  it('go back to a mark without losing what was staged before it', () => {
    const store = createMemoryStore();
    const staged = stage(store);
    const rows = staged.table<number>('rows');
    rows.put('a', 1);
    const mark = staged.mark();
    rows.put('a', 2);
    rows.put('b', 2);
    staged.undo(mark);
    staged.commit(emptyCheckpoint);
    expect([store.get('rows', 'a'), store.get('rows', 'b')]).toEqual([1, undefined]);
  });

  it('leave nothing in the store when they are discarded', () => {
    const store = createMemoryStore();
    const staged = stage(store);
    staged.table<number>('rows').put('a', 1);
    staged.discard();
    staged.commit(emptyCheckpoint);
    expect(store.count('rows')).toBe(0);
  });
});

describe('an LMDB store', () => {
  it('is there again after it was closed', async () => {
    const path = folder();
    const replay = {
      id: 'r',
      state: 'running' as const,
      starts: new Map([['t-0', offset(1)]]),
      targets: new Map([['t-0', offset(9)]]),
      startedAt: 5,
      skipped: 2,
      filter: { types: ['Added'], skipTypes: true, keys: [], skipKeys: false, ends: { 'in-0': '7' }, handled: { 'in-0': '9' } },
      records: 3,
    };
    await using first = openLmdbStore({ path });
    first.commit(changes({ a: 1 }), { ...at(4), epoch: 12n, replay });
    await first.close();
    await using second = openLmdbStore({ path });
    expect(second.get('rows', 'a')).toBe(1);
    expect(second.checkpoint).toEqual({ ...at(4), epoch: 12n, replay });
  });

  it('is thrown away and rebuilt when another version of the code wrote it', async () => {
    const path = folder();
    const first = openLmdbStore({ path, codeVersion: '1' });
    first.commit(changes({ a: 1 }), at(4));
    await first.close();
    const reasons: string[] = [];
    await using second = openLmdbStore({ path, codeVersion: '2', onRebuild: (reason) => reasons.push(reason) });
    expect([second.count('rows'), second.checkpoint.positions.size]).toEqual([0, 0]);
    expect(reasons).toEqual([expect.stringContaining('version 1')]);
  });

  it('is thrown away and rebuilt when its file is not one', async () => {
    const path = folder();
    writeFileSync(join(path, 'data.mdb'), Buffer.alloc(40_960, 'no database'));
    const reasons: string[] = [];
    await using store = openLmdbStore({ path, onRebuild: (reason) => reasons.push(reason) });
    store.commit(changes({ a: 1 }), at(4));
    expect([store.get('rows', 'a'), reasons.length]).toEqual([1, 1]);
  });

  const filled = async (rows = 20_000): Promise<string> => {
    const path = folder();
    await using store = openLmdbStore({ path });
    store.commit(
      changes(Object.fromEntries(Array.from({ length: rows }, (_, index) => [`k${index}`, { n: index, pad: 'x'.repeat(50) }]))),
      at(4),
    );
    await store.close();
    return path;
  };
  const damage = (path: string, byte: number, page: number, pages: number): void => {
    const file = openSync(join(path, 'data.mdb'), 'r+');
    writeSync(file, Buffer.alloc(4096 * pages, byte), 0, 4096 * pages, 4096 * page);
    closeSync(file);
  };

  it('is thrown away and rebuilt when its file was cut', async () => {
    const path = await filled();
    truncateSync(join(path, 'data.mdb'), statSync(join(path, 'data.mdb')).size / 2);
    const reasons: string[] = [];
    await using store = openLmdbStore({ path, onRebuild: (reason) => reasons.push(reason) });
    expect([store.count('rows'), reasons]).toEqual([0, [expect.stringContaining('was cut')]]);
  });

  it('says so when a page cannot be read, and is rebuilt at the next opening', async () => {
    const path = await filled();
    damage(path, 0xa7, Math.floor(statSync(join(path, 'data.mdb')).size / 4096 / 3), 16);
    const first = openLmdbStore({ path });
    expect(() => [...first.range('rows')]).toThrow('cannot be used');
    await first.close();
    const reasons: string[] = [];
    await using second = openLmdbStore({ path, onRebuild: (reason) => reasons.push(reason) });
    expect([second.count('rows'), reasons]).toEqual([0, ['a page of it is damaged']]);
  });

  it('that ends the process which reads it is found out before it does so for ever; one that was merely killed with it stays', async () => {
    const reader = `import { openLmdbStore } from ${JSON.stringify(new URL('lmdb-store.js', import.meta.url).href)};
      const store = openLmdbStore({ path: process.argv[1], onRebuild: (reason) => console.log(reason) });
      console.log([...store.range('rows')].length);
      process.kill(process.pid, 'SIGKILL');`;
    const run = (path: string): string =>
      spawnSync(process.execPath, ['--input-type=module', '-e', reader, path], { encoding: 'utf8' }).stdout.trim();
    const [whole, broken] = [await filled(), await filled()];
    damage(broken, 0, 100, 2);
    expect([1, 2, 3].map(() => run(whole))).toEqual(['20000', '20000', '20000']);
    expect([run(broken), run(broken)]).toEqual(['', '']);
    expect(run(broken)).toMatch(/^2 processes ended with it, and so did one that read it through \(.*\)\n0$/);
  }, 60_000);

  const killedWhileOpen = (path: string, boot: string): void => {
    const writer = `import { openLmdbStore } from ${JSON.stringify(new URL('lmdb-store.js', import.meta.url).href)};
      const [, path, boot] = process.argv;
      const store = openLmdbStore({ path, boot });
      store.commit(new Map([['rows', new Map([['b', 2]])]]), store.checkpoint);
      process.kill(process.pid, 'SIGKILL');`;
    spawnSync(process.execPath, ['--input-type=module', '-e', writer, path, boot]);
  };
  it('that was open when the machine went down is thrown away and rebuilt; one whose process was killed, or that was closed, stays', async () => {
    const path = folder();
    const first = openLmdbStore({ path, boot: 'sunday' });
    first.commit(changes({ a: 1 }), at(4));
    await first.close();
    const reasons: string[] = [];
    const reopened = async (boot: string): Promise<readonly unknown[]> => {
      await using store = openLmdbStore({ path, boot, onRebuild: (reason) => reasons.push(reason) });
      return [store.get('rows', 'a'), store.get('rows', 'b'), store.checkpoint.positions.size];
    };
    killedWhileOpen(path, 'monday');
    expect([await reopened('monday'), reasons]).toEqual([[1, 2, 1], []]);
    killedWhileOpen(path, 'monday');
    expect([await reopened('tuesday'), reasons]).toEqual([[undefined, undefined, 0], ['the machine went down while it was open']]);
  });

  it('stays whatever went down where no run of the machine is told from another, since its commits wait for the disk', async () => {
    const path = folder();
    killedWhileOpen(path, '');
    await using store = openLmdbStore({ path, boot: 'monday', onRebuild: fail });
    expect(store.get('rows', 'b')).toBe(2);
  });

  it('stops with DISK_FULL when nothing can be written, and holds every commit before it', async () => {
    const path = folder();
    // The limit of a process on the size of its files, for a disk that is full.
    const writer = `import { openLmdbStore } from ${JSON.stringify(new URL('lmdb-store.js', import.meta.url).href)};
      process.on('SIGXFSZ', () => undefined);
      const store = openLmdbStore({ path: process.argv[1] });
      let commits = 0;
      try {
        for (;; commits++) {
          const rows = new Map(Array.from({ length: 500 }, (_, index) => [commits + '/' + index, 'x'.repeat(500)]));
          store.commit(new Map([['rows', rows]]), store.checkpoint);
        }
      } catch (error) {
        console.log(commits + ' ' + error.code);
      }`;
    const script = 'ulimit -f 8192; exec "$0" --input-type=module -e "$1" "$2"';
    const { stdout } = spawnSync('bash', ['-c', script, process.execPath, writer, path], { encoding: 'utf8' });
    const [commits, code] = stdout.trim().split(' ', 2);
    expect([Number(commits) > 2, code]).toEqual([true, 'DISK_FULL']);
    await using store = openLmdbStore({ path });
    expect(store.count('rows')).toBe(500 * Number(commits));
  });
});
