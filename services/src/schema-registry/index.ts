/** A schema registry with the REST API and the storage format of Confluent's, for Avro. */
export { startSchemaRegistry, type SchemaRegistryOptions, type RunningSchemaRegistry } from './start.js';
