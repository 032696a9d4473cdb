import {
  context,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Span as ApiSpan,
  type SpanOptions,
  type TimeInput,
} from '@opentelemetry/api';
import { readMeta, type Span } from '@spool/schemas';
import { offset, type Instance } from '@spool/streams';
import { emitSpan, type Handled } from './spans.js';
import { newTraceparent } from './traces.js';

interface Seen {
  readonly name: string;
  readonly options: SpanOptions;
  readonly parent: ReturnType<typeof trace.getSpanContext>;
  status?: unknown;
  end?: TimeInput | undefined;
}

/** What an application's SDK puts behind the API. */
function fakeSdk(): Seen[] {
  const seen: Seen[] = [];
  const startSpan = (name: string, options: SpanOptions = {}, parent: Context = ROOT_CONTEXT): ApiSpan => {
    const span: Seen = { name, options, parent: trace.getSpanContext(parent) };
    seen.push(span);
    const api: Partial<ApiSpan> = {
      setStatus: (status) => ((span.status = status), api as ApiSpan),
      end: (time) => void (span.end = time),
    };
    return api as ApiSpan;
  };
  trace.setGlobalTracerProvider({ getTracer: () => ({ startSpan, startActiveSpan: () => undefined as never }) });
  return seen;
}

describe('spans', () => {
  const spans: Span[] = [];
  const instance = {
    work: { handled: () => undefined },
    ...{ id: 'bank-0', bundle: 'bank', version: '1.2.3', now: () => 1_700_000_000_500 },
    telemetry: { weigh: (type: string) => (type === 'Unwanted' ? 0 : 3), span: (span: Span) => spans.push(span) },
  } as unknown as Instance;
  const handled = (type: string, errorClass: string | null = null): Handled => ({
    ...{ component: 'Account', componentKind: 'aggregate', messageKind: 'command', type, errorClass, outcome: 'applied', replayId: null },
    record: {
      ...{ topic: 'cmd.Account', partition: 2, offset: offset(41n), key: Buffer.from('a-1'), value: Buffer.alloc(0) },
      ...{ headers: {}, timestamp: 1_700_000_000_400 },
    },
    meta: readMeta({
      ce_id: Buffer.from('m-1'),
      correlationid: Buffer.from('c-1'),
      traceparent: Buffer.from('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
    }),
    handleUs: 1500,
    commitUs: 2500,
  });
  beforeEach(() => spans.splice(0));
  afterEach(() => {
    trace.disable();
    context.disable();
  });

  it('go out without an OpenTelemetry SDK, with the weight that the sampler gave', () => {
    emitSpan(instance, handled('Deposit'));
    emitSpan(instance, handled('Unwanted'));
    expect(spans).toHaveLength(1);
    expect(spans[0]).toMatchObject({ weight: 3, traceId: '0af7651916cd43dd8448eb211c80319c', parentSpanId: 'b7ad6b7169203331' });
  });

  it('are seen by the SDK of an application, in the same trace, with the conventional names', () => {
    const seen = fakeSdk();
    emitSpan(instance, handled('Deposit'));
    emitSpan(instance, handled('Deposit', 'REJECTED'));
    emitSpan(instance, handled('Unwanted'));
    expect(seen).toHaveLength(2);
    const [ok, failed] = seen;
    expect(ok).toMatchObject({
      name: 'process cmd.Account',
      parent: { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', isRemote: true },
      options: {
        kind: SpanKind.CONSUMER,
        startTime: [1_700_000_000, 496_000_000],
        attributes: {
          'messaging.system': 'kafka',
          'messaging.operation.type': 'process',
          'messaging.destination.name': 'cmd.Account',
          'messaging.destination.partition.id': '2',
          'messaging.kafka.offset': 41,
          'messaging.message.id': 'm-1',
          'messaging.message.conversation_id': 'c-1',
          'spool.handler': 'Account.Deposit',
          'spool.weight': 3,
        },
      },
      end: [1_700_000_000, 500_000_000],
    });
    expect(ok!.options.attributes).not.toHaveProperty('error.type');
    expect(ok!.status).toBeUndefined();
    expect(failed).toMatchObject({
      status: { code: SpanStatusCode.ERROR, message: 'REJECTED' },
      options: { attributes: { 'error.type': 'REJECTED' } },
    });
  });

  it('of what an application sends hang on the span that it has open', () => {
    const open = { traceId: '1'.repeat(32), spanId: '2'.repeat(16), traceFlags: 1 };
    let active = trace.setSpanContext(ROOT_CONTEXT, open);
    context.setGlobalContextManager({
      active: () => active,
      with: (_, call, self, ...args) => call.apply(self as never, args),
      bind: (_, target) => target,
      enable() {
        return this;
      },
      disable() {
        return this;
      },
    });
    expect(newTraceparent()).toBe(`00-${open.traceId}-${open.spanId}-01`);
    active = ROOT_CONTEXT;
    expect(newTraceparent()).toMatch(/^00-(?!1{32})[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });
});
