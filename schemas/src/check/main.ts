/** `npm run schemas:check [-- <registry url>]`: lints the contracts, and compares them with a registry. Ends with 1 when anything is wrong. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createHttpRegistry } from '../codec/http-registry.js';
import { toSpoolError } from '../errors/spool-error.js';
import { readContracts } from '../generate/contracts.js';
import { renderModules } from '../generate/typescript.js';
import { checkContracts } from './check.js';

async function main(url: string | undefined): Promise<boolean> {
  const contracts = readContracts(fileURLToPath(new URL('../../avro/', import.meta.url)));
  const stale = [...renderModules(contracts)].filter(
    ([name, text]) => textOf(new URL(`../../src/generated/${name}`, import.meta.url)) !== text,
  );
  for (const [name] of stale) console.log(`FAIL  generated/${name} is not up to date: npm run schemas:generate`);
  const checked = await checkContracts(contracts, url === undefined ? undefined : createHttpRegistry({ url, deadlineMs: 10_000 }));
  for (const { fullName, subjects, problems } of checked) {
    const against = url === undefined ? '' : subjects.length === 0 ? ' (not registered yet)' : ` (${subjects.join(', ')})`;
    console.log(`${problems.length === 0 ? 'ok  ' : 'FAIL'}  ${fullName}${against}`);
    for (const problem of problems) console.log(`      ${problem}`);
  }
  if (url === undefined) console.log('Give the URL of a registry to compare with what is registered.');
  return stale.length === 0 && checked.every(({ problems }) => problems.length === 0);
}

function textOf(file: URL): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

try {
  process.exitCode = (await main(process.argv[2] ?? process.env['SCHEMA_REGISTRY_URL'])) ? 0 : 1;
} catch (thrown) {
  const { code, message } = toSpoolError(thrown);
  console.error(`${code}: ${message}`);
  process.exitCode = 1;
}
