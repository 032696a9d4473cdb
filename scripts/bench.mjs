/** `npm run bench`: installs, builds and runs the benchmarks; `npm run bench -- --help` lists them. */
import { build, checkTools, installPackages } from './setup.mjs';

checkTools({ broker: true });
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(1);
}
await import('../bench/dist/main.js');
