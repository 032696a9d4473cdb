export { catalogue, type ErrorCode, type ErrorEntry } from './errors/catalogue.js';
export { SpoolError, toSpoolError, type SpoolErrorOptions, type Violation } from './errors/spool-error.js';
export {
  type AvroSchema,
  type AvroDefinition,
  type AvroField,
  type PayloadOf,
  type RecordDefinition,
  type RecordSchema,
} from './avro/schema.js';
export * from './generated/index.js';
export { jsonSchemaOf, type JsonSchema } from './avro/json-schema.js';
export { fromJson, toJson } from './avro/json.js';
export { createCodec, roundTrip, type Codec, type CodecOptions, type DecodedRecord, type Decoder, type Encoder } from './codec/codec.js';
export { createMemoryRegistry, type MemoryRegistryOptions } from './codec/memory-registry.js';
export { subjectOf, type RegisteredVersion, type SchemaRegistry } from './codec/registry.js';
export { headerBytes, isFramed, schemaIdOf } from './codec/wire.js';
export { checkCompatibility, compatibilityLevels, type Compatibility, type Conflict, type EarlierVersion } from './compatibility/levels.js';
export { parseAvro, type ParseAvroOptions } from './compatibility/parse.js';
export type { ParsedAvro } from './compatibility/parsed.js';
export { renderAvro, type RenderAvroOptions } from './compatibility/render.js';
export {
  avroContentType,
  formatReplyAddress,
  headerNames,
  messageHeaders,
  parseReplyAddress,
  readMeta,
  type MessageMeta,
  type ReadMeta,
  type ReplyAddress,
  type SentMeta,
} from './cloudevents/meta.js';
export { childOf, formatTraceparent, newTrace, parseTraceparent, type TraceContext } from './cloudevents/traceparent.js';
export { randomIdBytes } from './cloudevents/random.js';
export {
  arrayOf,
  doc,
  enumOf,
  mapOf,
  optional,
  record,
  withDefault,
  type Field,
  type Fields,
  type FieldSpec,
  type RecordOptions,
  type RecordValue,
  type ValueOf,
} from './inline/record.js';
export { createHttpRegistry, type HttpRegistryOptions } from './codec/http-registry.js';
export { containerDecoder, containerEncoder } from './container/container.js';
export { lint, type LintOptions } from './lint/lint.js';
export { suspectedRenames } from './lint/renames.js';
export { createUpcasters, upcaster, type Upcaster, type Upcasters, type WrittenType } from './upcast/upcasters.js';
