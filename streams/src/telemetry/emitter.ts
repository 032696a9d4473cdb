import { LagSchema, MetricSchema, SpanSchema, type Codec, type Encoder, type Lag, type Metric, type Span } from '@spool/schemas';
import type { Producer, ProducerRecord } from '../kafka/port.js';
import { createSampler } from './sampler.js';

/** Takes telemetry and never slows the work: what does not fit is dropped and counted. */
export interface Telemetry extends AsyncDisposable {
  /**
   * How many messages the span of this one is to stand for; 0 when none is wanted. See `spansPerSecond` and `forced`.
   * @param payloadType of the message @param trace its W3C trace id, where it has one
   */
  weigh(payloadType: string, trace?: string): number;
  span(span: Span): void;
  metric(metric: Omit<Metric, 'instance' | 'bundle' | 'version'>): void;
  lag(lag: Omit<Lag, 'instance'>): void;
  /** Records dropped since the start, since the queue was full or Kafka refused them. */
  readonly dropped: number;
  /** Spans wanted since the start, dropped ones too. */
  readonly spans: number;
  /** Spans left out since the start, since there were more than `spansPerSecond`. */
  readonly leftOut: number;
  close(): Promise<void>;
}

export interface Sampling {
  /** Beyond it a share of the spans is taken, each with the same chance and a weight. @default 1000 */
  readonly spansPerSecond?: number;
  /** Payload types of which every message has its span, whatever the rate; they are not counted against `spansPerSecond`. @default none */
  readonly forced?: readonly string[];
}

export interface TelemetryOptions extends Sampling {
  readonly codec: Codec;
  readonly producer: Producer;
  readonly topics: { readonly spans: string; readonly metrics: string; readonly lag: string };
  readonly instance: string;
  readonly bundle: string;
  readonly version: string;
  readonly now: () => number;
  /** Records that wait beyond this are dropped. @default 20000 */
  readonly maxQueued?: number;
  /** How long records are gathered before they are sent, in milliseconds; the work does not wait for it. @default 100 */
  readonly gatherMs?: number;
}

export const noTelemetry: Telemetry = {
  weigh: () => 0,
  spans: 0,
  leftOut: 0,
  span: () => undefined,
  metric: () => undefined,
  lag: () => undefined,
  dropped: 0,
  close: () => Promise.resolve(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

const recordsPerSend = 1000;

export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { codec, topics, instance, bundle, version } = options;
  const maxQueued = options.maxQueued ?? 20_000;
  const sampler = createSampler(options.spansPerSecond ?? 1000, options.now);
  const spans = await codec.encoder(topics.spans, SpanSchema);
  const metrics = await codec.encoder(topics.metrics, MetricSchema);
  const lags = await codec.encoder(topics.lag, LagSchema);
  const queue: (() => ProducerRecord)[] = [];
  const forced = new Set(options.forced);
  let forcedSpans = 0;
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> = Promise.resolve();

  const flush = async (): Promise<void> => {
    while (queue.length > 0) {
      const taken = queue.splice(0, recordsPerSend);
      try {
        await options.producer.sendAll(taken.map((make) => make()));
      } catch {
        dropped += taken.length;
      }
    }
  };
  const add = <T>(topic: string, encoder: Encoder<T>, value: T): void => {
    if (queue.length >= maxQueued) {
      dropped += 1;
      return;
    }
    queue.push(() => ({ topic, key: instance, value: encoder.encode(value) }));
    timer ??= setTimeout(() => {
      sending = sending.then(flush).then(() => {
        timer = undefined;
      });
    }, options.gatherMs ?? 100);
  };
  const close = async (): Promise<void> => {
    clearTimeout(timer);
    await sending;
    await flush();
  };
  return {
    weigh(payloadType, trace) {
      if (!forced.has(payloadType)) return sampler.weigh(trace);
      forcedSpans += 1;
      return 1;
    },
    get spans() {
      return sampler.taken + forcedSpans;
    },
    get leftOut() {
      return sampler.leftOut;
    },
    span: (span) => add(topics.spans, spans, span),
    metric: (metric) => add(topics.metrics, metrics, { ...metric, instance, bundle, version }),
    lag: (lag) => add(topics.lag, lags, { ...lag, instance }),
    get dropped() {
      return dropped;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
