import { closeSync, writeSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cutLogFile, lastLogLine, openLogFile } from './log-file.js';

describe('log files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-log-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('are cut beneath a child that goes on writing, with the older part kept', async () => {
    const path = join(folder, 'made', 'child.log');
    const log = openLogFile(path);
    writeSync(log, 'first\nsecond\n');
    cutLogFile(path, 100);
    expect(await readFile(path, 'utf8')).toBe('first\nsecond\n');
    cutLogFile(path, 5);
    writeSync(log, 'third\n');
    closeSync(log);
    expect(await readFile(path, 'utf8')).toBe('third\n');
    expect(await readFile(`${path}.1`, 'utf8')).toBe('first\nsecond\n');
  });

  it('give their last line', () => {
    const path = join(folder, 'child.log');
    expect(lastLogLine(path)).toBeUndefined();
    const log = openLogFile(path);
    expect(lastLogLine(path)).toBeUndefined();
    writeSync(log, 'one\ntwo\n\n');
    closeSync(log);
    expect(lastLogLine(path)).toBe('two');
  });
});
