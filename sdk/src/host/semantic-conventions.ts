/** OpenTelemetry's semantic conventions for messaging, as far as Spool's spans have them (version 1.37), and what Spool adds under its own name. */
export const attribute = {
  system: 'messaging.system',
  operationType: 'messaging.operation.type',
  operationName: 'messaging.operation.name',
  destination: 'messaging.destination.name',
  partition: 'messaging.destination.partition.id',
  offset: 'messaging.kafka.offset',
  messageId: 'messaging.message.id',
  conversationId: 'messaging.message.conversation_id',
  errorType: 'error.type',
  serviceInstance: 'service.instance.id',
  bundle: 'spool.bundle',
  version: 'spool.bundle.version',
  component: 'spool.component',
  componentKind: 'spool.component.kind',
  handler: 'spool.handler',
  messageKind: 'spool.message.kind',
  payloadType: 'spool.payload.type',
  aggregateId: 'spool.aggregate.id',
  causationId: 'spool.causation.id',
  outcome: 'spool.outcome',
  replayId: 'spool.replay.id',
  queueUs: 'spool.queue_us',
  handleUs: 'spool.handle_us',
  commitUs: 'spool.commit_us',
  /** How many messages the span stands for. */
  weight: 'spool.weight',
} as const;

export const kafkaSystem = 'kafka';
/** The type of operation and its name: a message is handled. */
export const processing = 'process';
