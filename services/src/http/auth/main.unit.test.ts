import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createAuth } from './auth.js';

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const main = fileURLToPath(new URL('main.js', import.meta.url));
const run = (...words: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    execFile(process.execPath, [main, ...words], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out: out.trim(), err: err.trim() });
    });
  });

describe('the command for API keys', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'spool-keys-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('adds, lists and revokes', async () => {
    const file = join(folder, 'keys.json');
    const added = await run('add', '--file', file, '--name', 'Ada', '--role', 'operator', '--role', 'bundle', '--expires', '2999-01-01');
    expect(added.code).toBe(0);
    const auth = await createAuth({ apiKeys: { file } });
    const { id } = (await auth.authenticate({ 'x-api-key': added.out }))!;
    const listed = await run('list', '--file', file);
    expect(listed.out).toMatch(new RegExp(`^${id}  operator,bundle  \\S+  2999-01-01T00:00:00.000Z  Ada$`));
    expect((await run('revoke', '--file', file, '--id', id)).code).toBe(0);
    expect((await run('list', '--file', file)).out).toBe('');
    expect(await run('revoke', '--file', file, '--id', id)).toMatchObject({
      code: 1,
      err: expect.stringContaining(`has no key ${id}`) as string,
    });
  });

  it('says how it is used', async () => {
    const file = join(folder, 'keys.json');
    const wrong = [
      [],
      ['add', '--file', file, '--name', 'x'],
      ['add', '--file', file, '--name', 'x', '--role', 'root'],
      ['add', '--file', file, '--name', 'x', '--role', 'admin', '--expires', 'soon'],
    ];
    for (const words of wrong) expect(await run(...words)).toMatchObject({ code: 1, err: expect.stringContaining('usage:') as string });
  });
});
