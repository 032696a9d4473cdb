/**
 * The closed catalogue of errors. `retryable` says what a caller may do with the same request:
 * `never` (it will fail again), `backoff` (wait, then try again), `fatal` (this process must stop or be rebuilt).
 */
export interface ErrorEntry {
  /** HTTP status of the problem document. */
  readonly status: number;
  readonly retryable: 'never' | 'backoff' | 'fatal';
  readonly title: string;
  /** What the reader should do next. */
  readonly remedy: string;
}

export const catalogue = {
  INTERNAL: { status: 500, retryable: 'never', title: 'Internal error', remedy: 'Report it with the trace id; it is a defect of Spool.' },
  INVALID_CONFIG: {
    status: 500,
    retryable: 'fatal',
    title: 'Configuration is not valid',
    remedy: 'Correct every setting that the detail lists and start again.',
  },
  // Edge
  MALFORMED_JSON: {
    status: 400,
    retryable: 'never',
    title: 'Body is not valid JSON',
    remedy: 'Correct the JSON at the place the detail names.',
  },
  INVALID_REQUEST: { status: 400, retryable: 'never', title: 'Request is not valid', remedy: 'Correct the fields listed under errors.' },
  INVALID_PAYLOAD: {
    status: 400,
    retryable: 'never',
    title: 'Payload does not fit its schema',
    remedy: 'Correct the fields listed under errors; GET /api/v1/registry/payloads shows the schema.',
  },
  BODY_TOO_LARGE: { status: 413, retryable: 'never', title: 'Body is too large', remedy: 'Send a smaller body.' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, retryable: 'never', title: 'Content type is not supported', remedy: 'Send application/json.' },
  UNAUTHENTICATED: {
    status: 401,
    retryable: 'never',
    title: 'Credentials are missing or not valid',
    remedy: 'Send a valid API key or bearer token.',
  },
  FORBIDDEN: {
    status: 403,
    retryable: 'never',
    title: 'Your role may not do this',
    remedy: 'Ask for a key with one of the roles the detail names.',
  },
  NOT_FOUND: { status: 404, retryable: 'never', title: 'Not found', remedy: 'Check the path; GET /openapi.json lists every route.' },
  METHOD_NOT_ALLOWED: {
    status: 405,
    retryable: 'never',
    title: 'Method is not allowed here',
    remedy: 'Use one of the methods in the Allow header.',
  },
  NOT_ACCEPTABLE: {
    status: 406,
    retryable: 'never',
    title: 'The answer cannot be given in the form that Accept asks for',
    remedy: 'Accept one of the content types that the detail names.',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    retryable: 'backoff',
    title: 'The request did not arrive in time',
    remedy: 'Nothing was changed; send the whole request without a pause.',
  },
  UPGRADE_REQUIRED: {
    status: 426,
    retryable: 'never',
    title: 'There is a WebSocket here',
    remedy: 'Connect with a WebSocket client.',
  },
  PRECONDITION_FAILED: {
    status: 412,
    retryable: 'never',
    title: 'The resource is not at the version that If-Match names',
    remedy: 'Read the resource again and send its present ETag.',
  },
  HOST_REFUSED: {
    status: 421,
    retryable: 'never',
    title: 'This host name is not served here',
    remedy: 'Use a name that the server was set up for, or add the name to its allowed hosts.',
  },
  CROSS_ORIGIN: {
    status: 403,
    retryable: 'never',
    title: 'Pages of another origin may not call this',
    remedy: 'Call it from the same origin, or add the origin to the allowed origins.',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    retryable: 'never',
    title: 'Request headers are too large',
    remedy: 'Send fewer or shorter headers.',
  },
  RATE_LIMITED: { status: 429, retryable: 'backoff', title: 'Too many requests', remedy: 'Wait for the time in Retry-After.' },
  // Commands and queries
  UNKNOWN_COMMAND: {
    status: 404,
    retryable: 'never',
    title: 'No bundle handles this command',
    remedy: 'GET /api/v1/registry/payloads lists the known commands.',
  },
  UNKNOWN_QUERY: {
    status: 404,
    retryable: 'never',
    title: 'No bundle answers this query',
    remedy: 'GET /api/v1/registry/payloads lists the known queries.',
  },
  UNKNOWN_AGGREGATE: { status: 404, retryable: 'never', title: 'No such aggregate', remedy: 'Check the type and the id.' },
  REJECTED: {
    status: 422,
    retryable: 'never',
    title: 'The domain rejected the command',
    remedy: 'Read the detail; the state does not allow this command.',
  },
  VERSION_CONFLICT: {
    status: 409,
    retryable: 'never',
    title: 'Version conflict',
    remedy: 'Read the aggregate again and decide anew with its actual version.',
  },
  EXPIRED: {
    status: 504,
    retryable: 'backoff',
    title: 'The deadline passed before any work was done',
    remedy: 'Nothing was changed; send it again with a later deadline.',
  },
  INDETERMINATE: {
    status: 504,
    retryable: 'backoff',
    title: 'The outcome is not known',
    remedy: 'Send it again with the same command id; it is applied at most once.',
  },
  OVERLOADED: {
    status: 503,
    retryable: 'backoff',
    title: 'Too much in flight',
    remedy: 'Wait for the time in Retry-After, then send it again.',
  },
  UNAVAILABLE: {
    status: 503,
    retryable: 'backoff',
    title: 'A part that is needed is away',
    remedy: 'Wait for the time in Retry-After; GET /readyz tells what is missing.',
  },
  // Kafka
  KAFKA_UNAVAILABLE: {
    status: 503,
    retryable: 'backoff',
    title: 'Kafka cannot be reached',
    remedy: 'Check that a broker listens at the addresses the detail names.',
  },
  KAFKA_REFUSED: { status: 502, retryable: 'never', title: 'Kafka refused the request', remedy: 'Read the broker error in the detail.' },
  PRODUCER_FENCED: {
    status: 503,
    retryable: 'fatal',
    title: 'A newer owner has taken over this transactional id',
    remedy: 'Stop writing; write again only after a new assignment.',
  },
  TRANSACTION_INDETERMINATE: {
    status: 503,
    retryable: 'fatal',
    title: 'A commit failed and its outcome is not known',
    remedy: 'Throw the producer away, take ownership again and read back.',
  },
  RECORD_TOO_LARGE: {
    status: 413,
    retryable: 'never',
    title: 'Record is larger than the topic allows',
    remedy: 'Send less in one record, or raise max.message.bytes of the topic.',
  },
  UNKNOWN_TOPIC: { status: 404, retryable: 'never', title: 'No such topic', remedy: 'GET /api/v1/topics lists the topics.' },
  TOPIC_NOT_WRITABLE: {
    status: 403,
    retryable: 'never',
    title: 'The platform alone writes to this topic',
    remedy: 'Send a command instead, or write to a topic that GET /api/v1/topics shows as writable.',
  },
  UNSAFE_TOPIC: {
    status: 500,
    retryable: 'fatal',
    title: 'A topic has settings that could lose history',
    remedy: 'Correct the settings the detail names, or restore the topic.',
  },
  PARTITIONS_CHANGED: {
    status: 500,
    retryable: 'fatal',
    title: 'The partition count differs from the manifest',
    remedy: 'Keys would move: create a new topic and copy the records instead.',
  },
  OFFSET_OUT_OF_RANGE: {
    status: 400,
    retryable: 'never',
    title: 'The position is outside the log',
    remedy: 'Use a position between the start and the end that the detail names.',
  },
  // Back-ups
  BACKUP_DAMAGED: {
    status: 422,
    retryable: 'never',
    title: 'The back-up is not what was written',
    remedy: 'Use another copy of it; the detail names what differs.',
  },
  TOPIC_NOT_EMPTY: {
    status: 409,
    retryable: 'never',
    title: 'A topic holds records already',
    remedy: 'Restore onto an empty cluster, or delete the topics that the detail names.',
  },
  RESTORE_UNFINISHED: {
    status: 503,
    retryable: 'fatal',
    title: 'A restore did not come to its end',
    remedy: 'Run the same restore again: it goes on where it stopped.',
  },
  // Schemas
  SCHEMA_UNKNOWN: { status: 404, retryable: 'never', title: 'No such schema', remedy: 'Register the schema before a record refers to it.' },
  SCHEMA_INCOMPATIBLE: {
    status: 409,
    retryable: 'never',
    title: 'Schema is not compatible with earlier versions',
    remedy: 'Make the changes that the detail names, or register under a new name.',
  },
  SCHEMA_INVALID: {
    status: 422,
    retryable: 'never',
    title: 'Schema is not valid',
    remedy: 'Correct the schema at the place the detail names.',
  },
  RECORD_UNREADABLE: {
    status: 422,
    retryable: 'never',
    title: 'Record cannot be decoded',
    remedy: 'Inspect the bytes; the writer did not use the schema it named.',
  },
  // Processors and replays
  STORE_CORRUPT: {
    status: 500,
    retryable: 'fatal',
    title: 'The local store cannot be read',
    remedy: 'Delete the folder the detail names; it is rebuilt from the log.',
  },
  DISK_FULL: {
    status: 507,
    retryable: 'fatal',
    title: 'The disk is full',
    remedy: 'Free space on the volume the detail names; nothing acknowledged is lost.',
  },
  EVENT_UNKNOWN: {
    status: 422,
    retryable: 'never',
    title: 'The event is of a type that its reader does not know',
    remedy: 'Declare the event in its source, or let the component pass over events that it does not know.',
  },
  PARTITION_HELD: {
    status: 503,
    retryable: 'backoff',
    title: 'A consumer does not pass a record',
    remedy: 'Deploy code that knows the event, or seek beyond the record that the detail names.',
  },
  UNKNOWN_CONSUMER: { status: 404, retryable: 'never', title: 'No such consumer', remedy: 'GET /api/v1/consumers lists the consumers.' },
  ORDER_REFUSED: {
    status: 409,
    retryable: 'never',
    title: 'The consumer refused the order',
    remedy: 'Read the detail; this consumer, as it is now, cannot do it.',
  },
  IDEMPOTENCY_KEY_REUSED: {
    status: 422,
    retryable: 'never',
    title: 'The Idempotency-Key stands for another request',
    remedy: 'Send the request that the key was first used with, or a new key.',
  },
  REPLAY_RUNNING: {
    status: 409,
    retryable: 'backoff',
    title: 'A replay of this target is already running',
    remedy: 'Wait until it ends, or cancel it.',
  },
  UNKNOWN_INSTANCE: {
    status: 404,
    retryable: 'never',
    title: 'No such instance',
    remedy: 'GET /api/v1/cluster/instances lists the instances.',
  },
  BUNDLE_REFUSED: {
    status: 422,
    retryable: 'never',
    title: 'The descriptor of the bundle does not go with what is registered',
    remedy: 'Correct what is listed under errors; GET /api/v1/registry/payloads shows what is registered.',
  },
  UNKNOWN_BUNDLE: {
    status: 404,
    retryable: 'never',
    title: 'No such bundle',
    remedy: 'GET /api/v1/autoscale lists the bundles with a decision.',
  },
  UNKNOWN_REPLAY: { status: 404, retryable: 'never', title: 'No such replay', remedy: 'GET /api/v1/replays lists the replays.' },
  // Running on one machine
  PORT_IN_USE: {
    status: 500,
    retryable: 'fatal',
    title: 'A port is in use',
    remedy: 'Stop the process that listens there, or set another port by the variable the detail names.',
  },
  TOOL_MISSING: { status: 500, retryable: 'fatal', title: 'A tool that is needed is missing', remedy: 'Install what the detail names.' },
  CHILD_FAILED: {
    status: 500,
    retryable: 'fatal',
    title: 'A child process keeps failing',
    remedy: 'Read its log at the path the detail names.',
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof catalogue;
