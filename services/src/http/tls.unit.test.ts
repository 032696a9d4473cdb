import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestServer } from './testing.js';

describe('TLS', () => {
  it('is served with a certificate and a key', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spool-tls-'));
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        key,
        '-out',
        cert,
        '-days',
        '1',
        '-subj',
        '/CN=localhost',
        '-addext',
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
      ],
      { stdio: 'ignore' },
    );
    const server = await startTestServer({ routes: [], tls: { cert: readFileSync(cert), key: readFileSync(key) } });
    expect(server.url).toBe(`https://127.0.0.1:${server.port}`);
    const answer = await new Promise<{ status: number | undefined; hsts: string | undefined }>((resolve, reject) => {
      const sent = request(`${server.url}/livez`, { ca: readFileSync(cert), agent: false }, (response) => {
        response.resume();
        resolve({ status: response.statusCode, hsts: response.headers['strict-transport-security'] });
      });
      sent.on('error', reject).end();
    });
    expect(answer).toEqual({ status: 200, hsts: 'max-age=31536000' });
    await server.close();
    rmSync(folder, { recursive: true });
  });

  it('does not start with what is no certificate', async () => {
    await expect(startTestServer({ routes: [], tls: { cert: 'x', key: 'y' } })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining('TLS') as string,
    });
  });
});
