import type { IncomingMessage } from 'node:http';
import { createGuard, isLoopback, type GuardOptions } from './guards.js';

const loopback: GuardOptions = { address: '127.0.0.1', host: 'localhost', allowedHosts: [], allowedOrigins: [] };

function verdict(options: Partial<GuardOptions>, request: { method?: string; headers: object }): unknown {
  try {
    createGuard({ ...loopback, ...options })({ method: 'GET', ...request } as unknown as IncomingMessage);
    return 'let in';
  } catch (error) {
    return (error as { code: unknown }).code;
  }
}

describe('loopback', () => {
  it.each(['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])('is %s', (address) => {
    expect(isLoopback(address)).toBe(true);
  });
  it.each(['0.0.0.0', '::', '10.0.0.1', '128.0.0.1', '::ffff:10.0.0.1'])('is not %s', (address) => {
    expect(isLoopback(address)).toBe(false);
  });
});

describe('the Host header', () => {
  it.each(['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '[::1]:8080', 'localhost:'])('may be %s on loopback', (host) => {
    expect(verdict({}, { headers: { host } })).toBe('let in');
  });
  it.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '',
    'localhost@evil.example',
    '10.0.0.1',
  ])('may not be %j on loopback', (host) => {
    expect(verdict({}, { headers: { host } })).toBe('HOST_REFUSED');
  });
  it('may be a name that is allowed', () => {
    expect(verdict({ allowedHosts: ['Spool.internal'] }, { headers: { host: 'spool.internal:8080' } })).toBe('let in');
  });
  it('may be anything beyond loopback, unless names are given', () => {
    const address = '10.0.0.1';
    expect(verdict({ address, host: address }, { headers: { host: 'any.example' } })).toBe('let in');
    expect(verdict({ address, host: address, allowedHosts: ['spool.example'] }, { headers: { host: 'any.example' } })).toBe('HOST_REFUSED');
    expect(verdict({ address, host: address, allowedHosts: ['spool.example'] }, { headers: { host: '10.0.0.1:80' } })).toBe('let in');
  });
});

describe('a request that changes something', () => {
  const post = (headers: object, options = {}): unknown =>
    verdict(options, { method: 'POST', headers: { host: 'localhost:8080', ...headers } });
  it('is let in from what is no browser, and from our own pages', () => {
    expect(post({})).toBe('let in');
    expect(post({ origin: 'http://localhost:8080' })).toBe('let in');
    expect(post({ 'sec-fetch-site': 'same-origin' })).toBe('let in');
    expect(post({ 'sec-fetch-site': 'none' })).toBe('let in');
  });
  it.each([
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { origin: 'http://localhost:9999' },
    { origin: 'http://localhost:8080.evil.example' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ])('is refused from another page: %j', (headers) => {
    expect(post(headers)).toBe('CROSS_ORIGIN');
  });
  it('is let in from an allowed origin', () => {
    expect(
      post({ origin: 'https://console.example', 'sec-fetch-site': 'cross-site' }, { allowedOrigins: ['https://console.example'] }),
    ).toBe('let in');
  });
});

it('a page of another origin may send what only reads, but may open no web socket', () => {
  const headers = { host: 'localhost', origin: 'http://evil.example' };
  expect(verdict({}, { headers })).toBe('let in');
  expect(verdict({}, { headers: { ...headers, upgrade: 'websocket' } })).toBe('CROSS_ORIGIN');
});
