import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { progressFile } from './progress.js';

describe('the progress file', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-flights-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is read back by the next process', async () => {
    const path = join(folder, 'made', 'feed');
    expect(progressFile(path).load()).toBe(0);
    progressFile(path).save(7);
    progressFile(path).save(1234);
    expect(progressFile(path).load()).toBe(1234);
    expect(await readdir(join(folder, 'made'))).toEqual(['feed']);
  });

  it('counts for nothing when it makes no sense or cannot be kept', async () => {
    const path = join(folder, 'feed');
    for (const content of ['', 'many', '-3', '1.5', '1e99']) {
      await writeFile(path, content);
      expect(progressFile(path).load()).toBe(0);
    }
    const unwritable = progressFile(join(path, 'below a file'));
    unwritable.save(5);
    expect(unwritable.load()).toBe(0);
  });
});
