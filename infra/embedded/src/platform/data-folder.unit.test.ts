import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { takeDataFolder } from './data-folder.js';

describe('takeDataFolder', () => {
  let parent: string;
  let path: string;
  beforeEach(async () => {
    parent = await mkdtemp(join(tmpdir(), 'spool-data-'));
    path = join(parent, '.spool');
  });
  afterEach(() => rm(parent, { recursive: true, force: true }));

  const script = (): string => `import { takeDataFolder } from ${JSON.stringify(new URL('./data-folder.js', import.meta.url).href)};
    takeDataFolder(${JSON.stringify(path)});`;

  it('lets one holder in at a time', () => {
    const first = takeDataFolder(path);
    expect(first.leftBehind).toBe(false);
    expect(() => takeDataFolder(path)).toThrow(`Another platform (process ${process.pid}) uses the data folder ${path}`);
    first.release();
    takeDataFolder(path).release();
    first.release();
  });

  it('takes over from a process that was killed, and says so', async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script()], { stdio: 'inherit' });
    await new Promise((resolve) => child.once('exit', resolve));
    const folder = takeDataFolder(path);
    expect(folder.leftBehind).toBe(true);
    expect(() => takeDataFolder(path)).toThrow('Another platform');
    folder.release();
  });

  const itOnLinux = existsSync('/proc/self/stat') ? it : it.skip;

  itOnLinux('takes over from a process that has ended but is still listed', async () => {
    // The shell becomes a sleep, which never asks how its child ended: the child stays a zombie.
    const parent = spawn('sh', ['-c', `${process.execPath} --input-type=module -e '${script()}' & exec sleep 30`], { stdio: 'inherit' });
    try {
      const lock = join(path, 'platform.lock');
      const state = async (): Promise<string> => {
        const { pid } = JSON.parse(await readFile(lock, 'utf8')) as { pid: number };
        return readFile(`/proc/${pid}/stat`, 'utf8');
      };
      while (!/ Z /.test(await state().catch(() => ''))) await sleep(20);
      takeDataFolder(path).release();
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('takes over when the process id was given to another process', async () => {
    takeDataFolder(path).release();
    await writeFile(join(path, 'platform.lock'), JSON.stringify({ pid: process.pid, startTime: '1' }));
    takeDataFolder(path).release();
  });

  it('takes over a lock that a crash left empty', async () => {
    takeDataFolder(path).release();
    await writeFile(join(path, 'platform.lock'), '');
    takeDataFolder(path).release();
  });

  it('does not let go of a lock that another process has meanwhile', async () => {
    const folder = takeDataFolder(path);
    const other = JSON.stringify({ pid: 1, startTime: '5' });
    await writeFile(join(path, 'platform.lock'), other);
    folder.release();
    expect(await readFile(join(path, 'platform.lock'), 'utf8')).toBe(other);
  });

  it('keeps the data on the next start, keeps the log alone to build the rest anew, and deletes it all on a reset', async () => {
    takeDataFolder(path).release();
    await mkdir(join(path, 'kafka'));
    takeDataFolder(path).release();
    expect(existsSync(join(path, 'kafka'))).toBe(true);
    await mkdir(join(path, 'clickhouse'));
    takeDataFolder(path, 'derived').release();
    expect(await readdir(path)).toEqual(['kafka', 'spool.json']);
    takeDataFolder(path, 'everything').release();
    expect(await readdir(path)).toEqual(['spool.json']);
  });

  it('refuses a folder that is not its own, reset or not, and touches nothing in it', async () => {
    await mkdir(path);
    await writeFile(join(path, 'letter.txt'), 'dear');
    expect(() => takeDataFolder(path)).toThrow('holds files that are not Spool');
    expect(() => takeDataFolder(path, 'everything')).toThrow('letter.txt');
    expect(await readdir(path)).toEqual(['letter.txt']);
  });

  it('does not delete beneath a platform that runs', async () => {
    const running = takeDataFolder(path);
    await mkdir(join(path, 'kafka'));
    expect(() => takeDataFolder(path, 'everything')).toThrow('Another platform');
    expect(existsSync(join(path, 'kafka'))).toBe(true);
    running.release();
  });
});
