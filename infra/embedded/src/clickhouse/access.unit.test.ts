import { authenticate, usersOf } from './access.js';

const users = usersOf({ writer: 'w:w', reader: '' });
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
const who = (headers: Record<string, string>, query = ''): string => {
  const { name, role } = authenticate(users, { host: '127.0.0.1:8123', ...headers }, new URLSearchParams(query));
  return `${name} ${role}`;
};

describe('who sends a request', () => {
  it('is told by Basic, by headers or by the URL', () => {
    expect(who({ authorization: basic('spool:w:w') })).toBe('spool writer');
    expect(who({ 'x-clickhouse-user': 'spool', 'x-clickhouse-key': 'w:w' })).toBe('spool writer');
    expect(who({}, 'user=spool&password=w:w')).toBe('spool writer');
    expect(who({ authorization: basic('analyst:') })).toBe('analyst reader');
  });

  it('is the read-only default user when nobody is named', () => {
    expect(who({})).toBe('default reader');
    expect(who({ authorization: basic(':') })).toBe('default reader');
  });

  it.each([
    [{ authorization: basic('spool:wrong') }],
    [{ authorization: basic('spool:') }],
    [{ authorization: basic('nobody:') }],
    [{ authorization: 'Bearer x' }],
    [{ 'x-clickhouse-user': 'spool' }],
    [{ 'x-clickhouse-key': 'w:w' }],
    [{ authorization: basic('spool:w:w'), 'x-clickhouse-user': 'spool', 'x-clickhouse-key': 'w:w' }],
  ])('is refused with 516 for %j', (headers) => {
    expect(() => who(headers as Record<string, string>)).toThrow(expect.objectContaining({ code: 516, status: 403 }) as Error);
  });

  it('needs a password when the request came under another name than a loopback one', () => {
    expect(() => who({ host: 'evil.example' })).toThrow('loopback name');
    expect(who({ host: 'evil.example', authorization: basic('spool:w:w') })).toBe('spool writer');
    expect(who({ host: 'localhost:8123' })).toBe('default reader');
    expect(who({ host: '[::1]:8123' })).toBe('default reader');
  });
});
