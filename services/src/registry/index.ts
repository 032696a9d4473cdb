export { bundlePrefix, registryProcessor } from './processor.js';
