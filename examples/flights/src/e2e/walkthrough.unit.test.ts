import { masked, stepsOf, walk } from './walkthrough.js';

const page = [
  'Text.',
  '```sh',
  'name=Ada',
  '```',
  '',
  'More text.',
  '',
  '```bash',
  'npm start',
  '```',
  '```sh',
  'echo "$name took 12.5 ms at 127.0.0.1:8080"',
  '```',
  '',
  '<!-- varies: [\\d.]+ ms -->',
  '',
  '```json',
  'Ada took 3.25 ms at 127.0.0.1:8080',
  '```',
].join('\n');
const options = { cwd: '.', env: process.env, timeoutMs: 10_000 };

describe('a walk through a page', () => {
  it('takes the sh blocks with their outputs, and puts the addresses in', () => {
    const steps = stepsOf(page, { '127.0.0.1:8080': '127.0.0.1:9' });
    expect(steps).toEqual([
      { line: 3, command: 'name=Ada\n', output: undefined, varies: undefined },
      { line: 12, command: 'echo "$name took 12.5 ms at 127.0.0.1:9"\n', output: 'Ada took 3.25 ms at 127.0.0.1:9', varies: /[\d.]+ ms/gm },
    ]);
  });

  it('runs them in one shell', async () => {
    const steps = stepsOf(page, {});
    expect(await walk(steps, options)).toEqual(['', 'Ada took 12.5 ms at 127.0.0.1:8080']);
  });

  it('says which step failed, and what it said', async () => {
    const steps = stepsOf('```sh\ntrue\n```\n\n```sh\necho no >&2; false\n```', {});
    await expect(walk(steps, options)).rejects.toThrow('line 6 ended with 1:\necho no >&2; false\n\n\nno');
  });

  it('gives up on a step that does not end', async () => {
    const steps = stepsOf('```sh\nexec sleep 60\n```', {});
    await expect(walk(steps, { ...options, timeoutMs: 200 })).rejects.toThrow('line 2 ended with null');
  });
});

describe('what varies', () => {
  const [one, other] = ['a19f142a-f9d4-48e8-8384-a43da1621c69', 'c9620144-a06c-4073-bfc5-b595e62760d8'];

  it('makes ids, times, positions and offsets equal', () => {
    expect(masked(`{"id":"${one}","at":"2026-11-22T21:38:01.320Z","position":"ZXZ0","partition":2,"offset":"17"}`)).toBe(
      '{"id":"<id 1>","at":"<time>","position":"<position>","partition":<partition>,"offset":"<offset>"}',
    );
  });

  it('keeps equal ids equal and others apart', () => {
    expect(masked(`${one} ${one}`)).toBe(masked(`${other} ${other}`));
    expect(masked(`${one} ${one}`)).not.toBe(masked(`${one} ${other}`));
  });

  it('leaves figures, versions and codes alone, and takes what the page names', () => {
    const text = '{"arrivals":825,"averageDelayMinutes":7.41,"version":3,"status":404}';
    expect(masked(text)).toBe(text);
    expect(masked('p99 3.25', /[\d.]+$/gm)).toBe(masked('p99 12.5', /[\d.]+$/gm));
    expect(masked('p99 none', /[\d.]+$/gm)).not.toBe(masked('p99 12.5', /[\d.]+$/gm));
  });
});
