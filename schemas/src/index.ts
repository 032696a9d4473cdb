export { catalogue, type ErrorCode, type ErrorEntry } from './errors/catalogue.js';
export { SpoolError, toSpoolError, type SpoolErrorOptions, type Violation } from './errors/spool-error.js';
