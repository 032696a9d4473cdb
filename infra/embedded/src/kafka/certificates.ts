import { SpoolError } from '@spool/schemas';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TlsFiles } from './properties.js';

const run = promisify(execFile);
const timeoutMs = 60_000;

/** A certificate authority of our own and a broker certificate for 127.0.0.1 and localhost that it has signed. */
export interface SelfMadeTls extends TlsFiles {
  /** PEM text of the authority, for clients to trust. */
  readonly ca: string;
  readonly caFile: string;
}

/**
 * Makes both with the JDK's keytool, valid for ten years; those that are in the folder already are taken.
 * @throws SpoolError TOOL_MISSING without keytool.
 */
export async function makeTls(folder: string): Promise<SelfMadeTls> {
  const keyStore = join(folder, 'broker.p12');
  const caFile = join(folder, 'ca.pem');
  const passwordFile = join(folder, 'password');
  if (!existsSync(caFile)) await generate(folder, { keyStore, caFile, passwordFile });
  return { keyStore, keyStorePassword: await readFile(passwordFile, 'utf8'), caFile, ca: await readFile(caFile, 'utf8') };
}

async function generate(folder: string, files: { keyStore: string; caFile: string; passwordFile: string }): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(files.passwordFile, randomUUID(), { mode: 0o600 });
  const keytool = async (...args: string[]): Promise<void> => {
    try {
      await run('keytool', [...args, '-keystore', files.keyStore, '-storetype', 'PKCS12', '-storepass:file', files.passwordFile], {
        timeout: timeoutMs,
      });
    } catch (cause) {
      throw new SpoolError('TOOL_MISSING', `keytool, which comes with Java, could not make a certificate in ${folder}`, { cause });
    }
  };
  const pair = ['-genkeypair', '-keyalg', 'RSA', '-keysize', '2048', '-validity', '3650'];
  await keytool(...pair, '-alias', 'ca', '-dname', 'CN=Spool embedded CA', '-ext', 'bc:c', '-ext', 'ku:c=keyCertSign');
  await keytool(...pair, '-alias', 'broker', '-dname', 'CN=localhost', '-signer', 'ca', '-ext', 'san=ip:127.0.0.1,dns:localhost');
  // The key of the authority has done its work; a store with two keys would leave it to Java which one to show.
  await keytool('-exportcert', '-rfc', '-alias', 'ca', '-file', `${files.caFile}.new`);
  await keytool('-delete', '-alias', 'ca');
  await rename(`${files.caFile}.new`, files.caFile);
}
