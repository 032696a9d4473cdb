import { Writable } from 'node:stream';
import { createLog } from './log.js';
import { scrub } from './secrets.js';

describe('scrub', () => {
  it.each([
    ['cannot reach postgres://spool:hunter2@db:5432/x', 'cannot reach postgres://***@db:5432/x'],
    ['http://u:p@ss@host/path', 'http://***@host/path'],
    ['Authorization: Bearer abc.def-ghi', 'Authorization: ***'],
    ['got Bearer abcdefgh123 instead', 'got Bearer *** instead'],
    ['token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln was refused', 'token *** was refused'],
    ['key spool_abcdefghijkl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', 'key spool_abcdefghijkl_***'],
    ['sasl.password=hunter2 sasl.mechanism=PLAIN', 'sasl.password=*** sasl.mechanism=PLAIN'],
    ['password: hunter2, user: me', 'password: ***, user: me'],
    ['{"password":"hun\\"ter2","user":"me"}', '{"password":"***","user":"me"}'],
    ['{"msg":"sent {\\"api_key\\":\\"hunter2\\"}"}', '{"msg":"sent {\\"api_key\\":\\"***\\"}"}'],
    ['{"cookie":"a=hunter2; b=hunter2"}', '{"cookie":"***"}'],
    ['cookie: a=hunter2; b=hunter2', 'cookie: ***'],
  ])('takes the secret out of %j', (dirty, clean) => {
    expect(scrub(dirty)).toBe(clean);
  });

  it.each(['the position token is p-12', 'GET http://host/path@v2', 'the passwordless way', 'mailto me@example.org', '{"key":"Flight-1"}'])(
    'leaves %j alone',
    (text) => {
      expect(scrub(text)).toBe(text);
    },
  );
});

it('scrub is done with a hostile text in time', () => {
  for (const piece of ['a', 'a.', 'a-', 'eyJ-', 'Bearer ', 'cookie', 'password ', '"password":', '\\"secret\\":\\"', 'spool_', '://']) {
    const text = `key ${piece.repeat(Math.ceil(300_000 / piece.length))}`;
    expect(scrub(text).length).toBeGreaterThan(0);
  }
});

describe('the log', () => {
  it('holds no secret, wherever it was put', () => {
    let text = '';
    const to = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        text += chunk.toString();
        done();
      },
    });
    const log = createLog({ name: 'x', to });
    log.info(
      { req: { headers: { authorization: 'Bearer hunter2', 'x-api-key': 'hunter2', cookie: ['a=hunter2'], 'set-cookie': ['hunter2'] } } },
      'in',
    );
    log.info({
      authorization: 'hunter2',
      password: 12_345_678,
      connection: { password: ['hunter2'] },
      deep: { er: { secret: { a: 'hunter2' } } },
    });
    log.info({ a: { b: { c: { d: { password: 'hunter2', clientSecret: 'hunter2' } } } } });
    log.error({ err: new Error('kafka://u:hunter2@host refused', { cause: new Error('password=hunter2') }) });
    log.warn('connecting to https://u:hunter2@host with Bearer hunter2');
    log.child({ cookie: 'hunter2' }).info('from a child');
    expect(text).not.toMatch(/hunter2|12345678/);
    const lines = text.trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { name: string }).name)).toEqual(Array(6).fill('x'));
  });
});
