export { startRegistryServer, type RegistryServer } from './registry-server.js';
export { until } from './until.js';
