/** Writes `schemas/src/generated` from `schemas/avro`: `node schemas/dist/generate/main.js`. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readContracts } from './contracts.js';
import { renderModules } from './typescript.js';

const folder = fileURLToPath(new URL('../../src/generated/', import.meta.url));
const modules = renderModules(readContracts(fileURLToPath(new URL('../../avro/', import.meta.url))));
mkdirSync(folder, { recursive: true });
for (const stale of readdirSync(folder).filter((name) => !modules.has(name))) rmSync(join(folder, stale));
for (const [name, text] of modules) writeFileSync(join(folder, name), text);
console.log(`${modules.size} modules written`);
