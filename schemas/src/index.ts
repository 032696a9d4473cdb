export { catalogue, type ErrorCode, type ErrorEntry } from './errors/catalogue.js';
export { SpoolError, toSpoolError, type SpoolErrorOptions, type Violation } from './errors/spool-error.js';
export { type AvroSchema, type AvroDefinition, type AvroField, type PayloadOf, type RecordDefinition, type RecordSchema } from './avro/schema.js';
export * from './generated/index.js';
