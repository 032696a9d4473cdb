import fc from 'fast-check';
import { formatReplyAddress, messageHeaders, parseReplyAddress, readMeta, type MessageMeta } from './meta.js';

const onWire = (headers: Readonly<Record<string, string>>): Record<string, Buffer> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
const meta: MessageMeta = {
  id: '8f14e45f',
  type: 'acme.FlightScheduled',
  source: 'flights/Flight',
  time: Date.UTC(2001, 0, 1, 8, 0, 0, 7),
  subject: '200101010800-LAX-SFO-1',
  contentType: 'application/avro',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  tracestate: 'a=b',
  correlationId: 'c',
  causationId: 'd',
  aggregateVersion: 3,
  expectedVersion: 2,
  writerEpoch: 9,
  commandId: 'e',
  deadline: 1_700_000_000_000,
  replyTo: { topic: 'acme.reply.gateway', partition: 12 },
  replyKey: 's-1',
  context: 'import',
  replayId: 'r',
  actor: 'ann@example.org',
};

describe('message headers', () => {
  it('follow the CloudEvents Kafka binding in binary mode', () => {
    const { id, type, source, time, subject } = meta;
    expect(messageHeaders({ id, type, source, time, subject, aggregateVersion: 3, replyTo: meta.replyTo })).toEqual({
      ce_specversion: '1.0',
      ce_id: '8f14e45f',
      ce_type: 'acme.FlightScheduled',
      ce_source: 'flights/Flight',
      ce_time: '2001-01-01T08:00:00.007Z',
      ce_subject: '200101010800-LAX-SFO-1',
      'content-type': 'application/avro',
      aggregateversion: '3',
      replyto: 'acme.reply.gateway/12',
    });
  });

  it('come back as they went', () => {
    expect(readMeta(onWire(messageHeaders(meta)))).toEqual(meta);
  });

  it('give undefined for what is missing or broken, and never throw', () => {
    const broken = { ce_time: 'yesterday', aggregateversion: '3.5', writerepoch: '', deadline: '99999999999999999', replyto: 'nowhere' };
    expect(Object.values(readMeta(onWire(broken))).filter((value) => value !== undefined)).toEqual([]);
    expect(Object.values(readMeta({})).filter((value) => value !== undefined)).toEqual([]);
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('ce_time', 'ce_id', 'deadline', 'replyto', 'aggregateversion'), fc.uint8Array()),
        (headers) => {
          readMeta(Object.fromEntries(Object.entries(headers).map(([name, bytes]) => [name, Buffer.from(bytes)])));
        },
      ),
    );
  });
});

describe('a reply address', () => {
  it('is a topic and a partition', () => {
    expect(parseReplyAddress(formatReplyAddress({ topic: 'reply.a', partition: 0 }))).toEqual({ topic: 'reply.a', partition: 0 });
  });
  it.each(['', 'reply.a', 'reply.a/', '/1', 'reply.a/x', 'a/b/1', 'reply.a/-1'])('is not %j', (text) => {
    expect(parseReplyAddress(text)).toBeUndefined();
  });
});
