/**
 * What every command needs before it can run: the tools of the machine, the npm packages and the build. Plain JavaScript
 * without packages, since it runs on a fresh clone.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Ends the process with a list when Node, Java or Maven is missing or too old.
 * @param {{ broker: boolean }} needs `broker`: an embedded broker is to be started, which takes Java and Maven
 */
export function checkTools({ broker }) {
  const missing = [];
  const [major, minor] = process.versions.node.split('.').map(Number);
  // As `engines` in package.json says, which npm enforces with a list of packages instead of a sentence.
  if (!(major >= 24 || (major === 22 && minor >= 13) || (major === 20 && minor >= 19))) {
    missing.push(
      `Node 20.19, 22.13 or 24, or a later one of these lines (this is ${process.versions.node}): https://nodejs.org, or nvm install 20`,
    );
  }
  if (broker) {
    const java = versionOf('java', ['-version'], /version "(\d+)/);
    if (java === undefined || java < 17) {
      const found = java === undefined ? 'java is not on the PATH, or cannot run' : `this is ${java}`;
      missing.push(`Java 17 or newer (${found}): apt-get install openjdk-17-jre-headless, or brew install openjdk@17`);
    }
    // Looked for only: to run it takes as long as a start of Java.
    const isOnPath = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'mvn')));
    if (!isOnPath) missing.push('Maven 3 (mvn is not on the PATH): apt-get install maven, or brew install maven');
  }
  if (missing.length === 0) return;
  console.error(`Spool needs:\n${missing.map((line) => `  ${line}`).join('\n')}`);
  if (broker)
    console.error('Java and Maven run the embedded Kafka; with KAFKA_BROKERS set to a broker you have, npm start does without them.');
  process.exit(1);
}

function versionOf(command, args, pattern) {
  const { stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  const found = error === undefined ? pattern.exec(`${stdout}${stderr}`) : null;
  return found === null ? undefined : Number(found[1]);
}

/** Runs `npm ci` when packages are missing or are others than the lock file names; ends the process when that fails. */
export function installPackages() {
  if (packagesAreInstalled()) return;
  console.log('installing npm packages (once)');
  if (!run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])) {
    console.error('npm ci failed; see above.');
    process.exit(1);
  }
}

/** npm keeps what it installed in a lock file of its own; both must name the same versions. */
function packagesAreInstalled() {
  const installedFile = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedFile)) return false;
  const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
  const installed = packagesOf(installedFile);
  return Object.entries(packagesOf(join(root, 'package-lock.json'))).every(
    ([path, wanted]) => path === '' || (path in installed ? installed[path].version === wanted.version : wanted.optional === true),
  );
}

/** Compiles what has changed. @returns {boolean} whether it compiled */
export function build() {
  if (!existsSync(join(root, 'schemas', 'dist'))) console.log('building (the first time takes a minute)');
  return run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b']);
}

/** Runs a command in the repository's root with this terminal. @returns {boolean} whether it ended with 0 */
export function run(command, args, options = {}) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (error !== undefined) console.error(`${command}: ${error.message}`);
  return status === 0;
}
