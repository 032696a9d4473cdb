/** `npm run fuzz`: sends the HTTP API of a running platform whatever its own OpenAPI allows, and what it does not; see --help. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './setup.mjs';

const version = '4.32.5';
const usage = `npm run fuzz [-- options]

  --url <url>      of the platform (http://127.0.0.1:8080); it writes to it, so never one that matters
  --examples <n>   random requests to each operation (10)
  --seed <n>       makes the same requests again (1)
  --help           show this

Fails on an answer with 5xx that the description does not have, on any status, content type or body that it does not have.
Needs python3 with venv; schemathesis ${version} is installed under .spool/fuzz. With the flights example it takes some four minutes.
`;
const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:8080' },
    examples: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', short: 'h' },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
// What it remembers of its runs goes there too.
const folder = join(root, '.spool', 'fuzz');
mkdirSync(folder, { recursive: true });
const venv = join(folder, version);
const run = (command, ...args) => spawnSync(command, args, { stdio: 'inherit', cwd: folder }).status ?? 1;
if (!existsSync(join(venv, 'bin', 'st'))) {
  const failed = run('python3', '-m', 'venv', venv) || run(join(venv, 'bin', 'pip'), 'install', '--quiet', `schemathesis==${version}`);
  if (failed) {
    console.error('schemathesis could not be installed; see above.');
    process.exit(1);
  }
}
/** What an earlier request has paused would keep every later one that needs it waiting for its deadline. */
async function resumePaused() {
  const post = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ reason: 'a fuzz run had paused it' }),
  };
  const { items } = await (await fetch(`${values.url}/api/v1/consumers`, { headers })).json();
  for (const { id } of items.filter(({ paused }) => paused)) {
    const answer = await fetch(`${values.url}/api/v1/consumers/${encodeURIComponent(id)}/resume`, post);
    if (!answer.ok) console.error(`${id} stays paused: ${answer.status} ${await answer.text()}`);
  }
}

await resumePaused();
const status = run(
  join(venv, 'bin', 'st'),
  ...['--config-file', join(root, 'scripts', 'fuzz.toml'), 'run', `${values.url}/openapi.json`],
  // Streams never end.
  ...['--exclude-by', '/x-stream == true', '--request-timeout', '60', '--continue-on-failure', '--workers', '1'],
  ...['--checks', 'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance'],
  ...['--phases', 'examples,coverage,fuzzing', '--max-examples', values.examples, '--seed', values.seed, '--warnings', 'off'],
);
await resumePaused();
process.exit(status);
