export { openDrains, type Drains } from './drains.js';
export { clusterProcessor } from './processor.js';
export { clusterSettings, openSettings, type SettingsService } from './settings.js';
