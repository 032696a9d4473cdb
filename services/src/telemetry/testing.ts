import type { Lag, Metric, Span } from '@spool/schemas';

const startedAt = Date.now() * 1000;

/** A span like any other; its figures follow from its number. */
export const spanOf = (index: number): Span => ({
  traceId: (index + 1).toString(16).padStart(32, '0'),
  spanId: (index + 1).toString(16).padStart(16, '0'),
  parentSpanId: null,
  messageKind: 'command',
  startedAt: startedAt + index,
  queueUs: index % 100,
  handleUs: 2,
  commitUs: 3,
  totalUs: (index % 100) + 5,
  status: index % 50 === 49 ? 'error' : 'ok',
  outcome: 'applied',
  errorClass: index % 50 === 49 ? 'REJECTED' : null,
  bundle: 'test',
  version: '1.0.0',
  instance: 'test-0',
  component: 'Thing',
  componentKind: 'aggregate',
  handler: `Thing.Make${index % 2}`,
  payloadType: 'Make',
  aggregateId: `thing-${index}`,
  topic: 'cmd.Thing',
  partition: 0,
  offset: index,
  messageId: `m-${index}`,
  correlationId: `c-${index}`,
  causationId: null,
  replayId: null,
  source: null,
  weight: 1,
});

export const metricOf = (index: number): Metric => ({
  instance: 'test-0',
  bundle: 'test',
  version: '1.0.0',
  name: 'test.metric',
  value: index,
  unit: '1',
  attributes: { 'a b': 'ä' },
  at: Date.now(),
});

export const lagOf = (index: number): Lag => ({
  instance: 'test-0',
  consumer: 'test.consumer',
  topic: 'evt.Thing',
  partition: 0,
  position: 10 + index,
  end: 100,
  records: 90 - index,
  seconds: 1.5,
  at: Date.now() - 1000 + index,
});
