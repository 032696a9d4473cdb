import { parseRouting, routingKey, type Routing } from './routing.js';

const routing: Routing = { root: 'app', kind: 'exception', category: ['auth', 'token'], severity: 'error', detail: 'expired' };

describe('a routing', () => {
  it('is its words, and is read from them again', () => {
    expect(routingKey(routing)).toBe('app.exception.auth.token.error.expired');
    expect(parseRouting('app.exception.auth.token.error.expired')).toEqual(routing);
  });

  it('is refused with everything that is wrong with it', () => {
    const wrong = { ...routing, root: 'a.b', category: [], severity: 'info' } as const;
    expect(() => routingKey(wrong)).toThrow(
      /"a.b" is no word.*a category is missing; the severity of exception is one of error, critical, fatal, not "info"/,
    );
    expect(() => parseRouting('app.exception.error.expired')).toThrow(/has 4 words/);
    expect(() => parseRouting('app.rumour.a.info.b')).toThrow(/"rumour" is none of notification, exception, data, command, return/);
    expect(() => routingKey({ ...routing, category: Array.from({ length: 20 }, () => 'c') })).toThrow(/24 words are more than 16/);
  });
});
