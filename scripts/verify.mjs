/** `npm run verify`: installs, builds and checks the log of events and its snapshots; `npm run verify -- --help` says more. */
import { build, checkTools, installPackages } from './setup.mjs';

checkTools({ broker: false });
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(2);
}
await import('../services/dist/event-store/verify/main.js');
