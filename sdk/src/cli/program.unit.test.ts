import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { BundleDescriptor, ComponentDescriptor } from '../bundle/descriptor.js';
import { describeText } from './describe-text.js';
import { runProgram } from './program.js';

const folder = fileURLToPath(new URL('..', import.meta.url));
async function spool(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const context = {
    env: {},
    folder,
    out: (text: string) => void (said.out += text),
    err: (text: string) => void (said.err += text),
    columns: undefined,
    signal: new AbortController().signal,
  };
  return { code: await runProgram(args, context), ...said };
}

describe('spool describe', () => {
  it('prints the descriptor of a bundle, with where each component is declared', async () => {
    const { code, out } = await spool('describe', './testing/counter.js', '--namespace', 'acme.');
    const { id, components } = JSON.parse(out) as BundleDescriptor;
    expect([code, id]).toEqual([0, 'counting']);
    const place = (line: number) => ({ file: 'src/testing/counter.ts', line: expect.closeTo(line, -1) as number });
    expect(components[0]).toMatchObject({
      name: 'Counter',
      handles: ['Add'],
      sends: ['Added'],
      sources: ['acme.cmd.Counter'],
      source: place(8),
    });
  });

  it('prints it as a tree', async () => {
    const { out } = await spool('describe', './testing/counter.js#counting', '--text');
    expect(out).toMatch(
      /^counting 1\.0\.0\n\naggregate Counter\n  src\/testing\/counter\.ts:\d+\n  runs as counting\.Counter-1\.default, reads cmd\.Counter\n  handles\n    Add \{ n: int \}\n  sends\n    Added \{ n: int \}\n/,
    );
    expect(out).toContain('projection Sums\n');
    expect(out).toContain('    Total -> TotalView\n');
  });

  it('tells what a component asks, and what is not as by default', () => {
    const reader: ComponentDescriptor = {
      ...{ name: 'Reader', kind: 'projector', description: '', replayable: true, handles: [], sends: ['Total'], asks: ['Total'] },
      ...{ consumer: 'c.Reader-1.import', sources: ['evt.A', 'evt.B'], contexts: ['import', 'default'], unknown: 'park' },
    };
    expect(describeText({ id: 'c', version: '1.0.0', description: '', components: [reader], payloads: [] })).toBe(
      [
        'c 1.0.0',
        '',
        'projector Reader',
        '  runs as c.Reader-1.import, reads evt.A, evt.B',
        '  contexts import, default, with a position for each; unknown events: park',
        '  asks',
        '    Total',
        '',
      ].join('\n'),
    );
  });

  it('says what is wrong with what it is given', async () => {
    expect(await spool('describe', './testing/nothing.js')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^NOT_FOUND: there is no module/) as string,
    });
    expect(await spool('describe', './testing/counter.js#Counter')).toMatchObject({
      code: 1,
      err: 'NOT_FOUND: ./testing/counter.js exports no bundle Counter; it exports Counter, Sums, Totals, counting\n',
    });
    expect(await spool('describe')).toMatchObject({ code: 2 });
    expect(await spool('destroy')).toMatchObject({ code: 2 });
    expect(await spool('--help')).toMatchObject({ code: 0, out: expect.stringContaining('describe') as string });
  });

  it('runs as a program', () => {
    const program = fileURLToPath(new URL('../../bin/spool.mjs', import.meta.url));
    const out = execFileSync(process.execPath, [program, 'describe', './testing/counter.js'], { cwd: folder, encoding: 'utf8' });
    expect((JSON.parse(out) as BundleDescriptor).components[0]!.source).toEqual({ file: 'src/testing/counter.ts', line: 8 });
  });
});

describe('spool invoke', () => {
  it('lists every setting that is missing', async () => {
    expect(await spool('invoke', './testing/counter.js', 'Import')).toMatchObject({
      code: 1,
      err: expect.stringContaining('SCHEMA_REGISTRY_URL') as string,
    });
  });
});
