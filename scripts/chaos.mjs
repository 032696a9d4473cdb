/** `npm run chaos`: installs, builds, and kills what runs while it works; `npm run chaos -- --help` lists what there is. */
import { build, checkTools, installPackages } from './setup.mjs';

checkTools({ broker: true });
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(1);
}
await import('../bench/dist/chaos/main.js');
