/** `npm run backup` and `npm run restore`: install, build, and write topics to files or files to topics; `npm run backup -- --help` says more. */
import { build, checkTools, installPackages } from './setup.mjs';

checkTools({ broker: false });
installPackages();
if (!build()) {
  console.error('The build failed; see above.');
  process.exit(2);
}
await import('../services/dist/backup/main.js');
