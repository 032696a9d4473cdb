import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { superviseChild, type ChildSpec, type ChildState } from './supervise.js';

/** A child that writes its pid to a file, says that it is ready, and then stays, unless `then` says otherwise. */
const child = ({ first = '', then = 'setInterval(() => {}, 1000)' } = {}): string =>
  `${first}; require('fs').appendFileSync(process.env.OUT, 'start ' + process.pid + '\\n');
   process.send({ type: 'ready' }); ${then}`;

describe('superviseChild', () => {
  let folder: string;
  let states: ChildState[];
  const out = (): string => join(folder, 'out');
  const spec = (script: string, more: Partial<ChildSpec> = {}): ChildSpec => ({
    name: 'sample',
    command: process.execPath,
    args: ['-e', script],
    env: { ...process.env, OUT: out() },
    logFile: join(folder, 'sample.log'),
    ipc: true,
    ready: 'ipc',
    restart: { firstDelayMs: 10, maxDelayMs: 50, maxQuickDeaths: 3 },
    onState: (state) => states.push(state),
    ...more,
  });
  const kinds = (): string[] => states.map(({ kind }) => kind);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-supervisor-'));
    states = [];
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('resolves when the child is ready and ends it in order on close', async () => {
    const supervised = await superviseChild(
      spec(child({ first: `process.on('SIGTERM', () => { require('fs').appendFileSync(process.env.OUT, 'term'); process.exit(0); })` })),
    );
    const { pid } = supervised;
    expect(alive(pid)).toBe(true);
    await supervised.close();
    expect(alive(pid)).toBe(false);
    expect(await readFile(out(), 'utf8')).toBe(`start ${pid!}\nterm`);
    expect(kinds()).toEqual(['starting', 'ready', 'stopped']);
    expect(await supervised.ended).toBeUndefined();
  });

  it('starts a child again that was killed', async () => {
    await using supervised = await superviseChild(spec(child()));
    const { pid } = supervised;
    await supervised.kill();
    await supervised.untilReady(10_000);
    expect(supervised.pid).not.toBe(pid);
    expect(kinds()).toEqual(['starting', 'ready', 'waiting', 'starting', 'ready']);
  });

  it('leaves a child away for as long as the one who killed it wants', async () => {
    const delays: number[] = [];
    const onState = (state: ChildState): void => {
      if (state.kind === 'waiting') delays.push(state.delayMs);
    };
    await using supervised = await superviseChild(spec(child(), { onState }));
    await supervised.kill(700);
    await supervised.untilReady(10_000);
    await supervised.kill();
    await supervised.untilReady(10_000);
    expect(delays[0]).toBe(700);
    expect(delays[1]).toBeLessThan(700);
  });

  it('restarts on demand without counting it as a death', async () => {
    await using supervised = await superviseChild(spec(child(), { restart: { maxQuickDeaths: 1 } }));
    const { pid } = supervised;
    await supervised.restart();
    expect(supervised.pid).not.toBe(pid);
    expect(kinds()).toEqual(['starting', 'ready', 'starting', 'ready']);
  });

  it('gives up after the given number of quick deaths, pausing longer each time, and names the log', async () => {
    const started = superviseChild(spec(`console.error('no disk'); process.exit(3)`));
    await expect(started).rejects.toMatchObject({
      code: 'CHILD_FAILED',
      message: `sample died 3 times in a row, last it exited with code 3 before it was ready; log: ${join(folder, 'sample.log')}; its last line: no disk`,
    });
    expect(states.flatMap((state) => (state.kind === 'waiting' ? [state.delayMs] : []))).toEqual([10, 20]);
  });

  it('forgets earlier quick deaths once a child has lived long enough', async () => {
    // With quickMs 0 no death after readiness is quick, so three of them do not reach the bound of two.
    await using supervised = await superviseChild(spec(child(), { restart: { firstDelayMs: 1, maxQuickDeaths: 2, quickMs: 0 } }));
    for (let death = 0; death < 3; death += 1) {
      await supervised.kill();
      await supervised.untilReady(10_000);
    }
    expect(supervised.state.kind).toBe('ready');
  });

  it('reports a failure after readiness through `ended`', async () => {
    const supervised = await superviseChild(spec(child({ then: 'setTimeout(() => process.exit(1), 20)' })));
    expect(await supervised.ended).toMatchObject({ code: 'CHILD_FAILED' });
    await supervised.close();
  });

  it('kills a child that is not ready in time', async () => {
    const started = superviseChild(spec('setInterval(() => {}, 1000)', { readyTimeoutMs: 300, restart: { maxQuickDeaths: 1 } }));
    await expect(started).rejects.toMatchObject({ code: 'CHILD_FAILED', message: expect.stringContaining('SIGKILL') as string });
  });

  it('hands the probe a signal that aborts when the child dies', async () => {
    const aborted: boolean[] = [];
    const ready = async (signal: AbortSignal): Promise<void> => {
      await sleep(60_000, undefined, { signal }).catch(() => aborted.push(signal.aborted));
    };
    await expect(superviseChild(spec('process.exit(1)', { ready, restart: { maxQuickDeaths: 1 } }))).rejects.toThrow('exited with code 1');
    expect(aborted).toEqual([true]);
  });

  it('kills a child that ignores SIGTERM, and what it started, after the bound', async () => {
    const script = `const { spawn } = require('child_process');
      const grandchild = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      require('fs').writeFileSync(process.env.OUT, String(grandchild.pid));
      process.on('SIGTERM', () => {}); process.send({ type: 'ready' }); setInterval(() => {}, 1000);`;
    const supervised = await superviseChild(spec(script, { stopTimeoutMs: 200 }));
    const { pid } = supervised;
    const grandchild = Number(await readFile(out(), 'utf8'));
    expect(alive(grandchild)).toBe(true);
    await supervised.close();
    expect(alive(pid)).toBe(false);
    expect(await goneWithin(grandchild, 5_000)).toBe(true);
  });

  it('stops a child that is still starting when the signal aborts', async () => {
    const signal = AbortSignal.timeout(300);
    await expect(superviseChild(spec('setInterval(() => {}, 1000)', { signal }))).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(kinds()).toEqual(['starting', 'stopped']);
    const [first] = states;
    expect(alive(first?.kind === 'starting' ? first.pid : undefined)).toBe(false);
  });

  it('says at once that a command is missing', async () => {
    await expect(superviseChild(spec('', { command: 'spool-no-such-command' }))).rejects.toMatchObject({ code: 'TOOL_MISSING' });
    expect(kinds()).toEqual(['starting', 'failed']);
  });

  it('fails instead of hanging when the log cannot be opened', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(superviseChild(spec('', { logFile: join(folder, 'file', 'sample.log') }))).rejects.toThrow(/ENOTDIR|EEXIST/);
  });

  it('leaves no orphan when the supervising process is killed with -9, also of a child that ignores SIGTERM', async () => {
    const stubborn = child({ first: `process.on('SIGTERM', () => { require('fs').writeFileSync(process.env.OUT + '-term', ''); })` });
    const script = `
      import { superviseChild } from ${JSON.stringify(new URL('./supervise.js', import.meta.url).href)};
      const supervised = await superviseChild({ name: 'sample', command: process.execPath, args: ['-e', ${JSON.stringify(stubborn)}],
        env: process.env, logFile: ${JSON.stringify(join(folder, 'sample.log'))}, ipc: true, ready: 'ipc', stopTimeoutMs: 1000 });
      process.send(supervised.pid);`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, OUT: out() },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const pid = await new Promise<number>((resolve) => {
      parent.once('message', (message) => {
        resolve(message as number);
      });
    });
    expect(alive(pid)).toBe(true);
    parent.kill('SIGKILL');
    expect(await goneWithin(pid, 10_000)).toBe(true);
    expect(existsSync(`${out()}-term`)).toBe(true);
  });
});

function alive(pid: number | undefined): boolean {
  try {
    process.kill(pid ?? 0, 0);
    return pid !== undefined;
  } catch {
    return false;
  }
}

async function goneWithin(pid: number, withinMs: number): Promise<boolean> {
  const end = performance.now() + withinMs;
  while (alive(pid) && performance.now() < end) await sleep(50);
  return !alive(pid);
}
