export { backUp, type BackUpOptions } from './back-up.js';
export { backupId, type Manifest } from './manifest.js';
export { restore, type RestoreOptions } from './restore.js';
export { refuseHalfRestored } from './restored.js';
export { verifyBackUp } from './verify.js';
