export { chaosRegistry, type ChaosOptions, type ChaosReport } from './registry.js';
