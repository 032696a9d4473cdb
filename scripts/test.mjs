/**
 * `npm test`: installs, builds and runs every check, and ends with one line `N passed, N failed`: jest's tests, and one failure for
 * each other step that fails. `npm test -- unit int` runs only the steps named.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { build, checkTools, installPackages, root, run } from './setup.mjs';

const stepTimeoutMs = 30 * 60_000;
const kinds = ['unit', 'int', 'e2e'];
const wanted = process.argv.slice(2);
const unknown = wanted.filter((step) => ![...kinds, 'lint'].includes(step));
if (unknown.length > 0) {
  console.error(`Unknown step ${unknown.join(', ')}; there are lint, ${kinds.join(', ')}.`);
  process.exit(2);
}
const includes = (step) => wanted.length === 0 || wanted.includes(step);

const total = { passed: 0, failed: 0 };
const failures = [];

checkTools({ broker: true });
installPackages();
const temp = mkdtempSync(join(tmpdir(), 'spool-test-'));
try {
  const built = build();
  if (!built) fail('build');
  if (includes('lint')) lint();
  // What is tested is what was compiled; after a failed build that would be yesterday's.
  if (built) for (const kind of kinds.filter(includes)) test(kind);
} finally {
  rmSync(temp, { recursive: true, force: true });
}
for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

/** The commands of the script `lint` in package.json, each on its own, so that one failure does not hide the next. */
function lint() {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const PATH = `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH}`;
  for (const command of scripts.lint.split(' && ')) {
    console.log(`lint: ${command}`);
    if (!run('sh', ['-c', command], { env: { ...process.env, PATH }, timeout: stepTimeoutMs })) fail(command.split(' ')[0]);
  }
}

function test(kind) {
  console.log(`test: ${kind}`);
  const report = join(temp, `${kind}.json`);
  const jest = ['--experimental-vm-modules', join(root, 'node_modules', 'jest', 'bin', 'jest.js')];
  const ok = run(process.execPath, [...jest, `--selectProjects=${kind}`, '--passWithNoTests', '--json', `--outputFile=${report}`], {
    // With --json the report goes to stdout as well; people read what goes to stderr.
    stdio: ['ignore', 'ignore', 'inherit'],
    timeout: stepTimeoutMs,
  });
  const found = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined;
  const passed = found?.numPassedTests ?? 0;
  const failed = (found?.numFailedTests ?? 0) + (found?.numRuntimeErrorTestSuites ?? 0);
  total.passed += passed;
  total.failed += failed;
  if (failed > 0) failures.push(`${kind}: ${failed} of ${passed + failed}`);
  // Jest can fail without a failed test, such as when the broker of the integration tests does not start.
  else if (!ok) fail(`${kind}: jest`);
}

function fail(step) {
  total.failed += 1;
  failures.push(step);
}
