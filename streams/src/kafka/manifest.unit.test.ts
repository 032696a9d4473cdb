import { checkTopics, topicConfig } from './manifest.js';
import type { TopicDescription, TopicSpec } from './port.js';

const spec: TopicSpec = { name: 'evt.Flight', partitions: 3, cleanup: 'delete', retentionMs: -1, sourceOfTruth: true };
const safe = { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1', 'min.insync.replicas': '1' };
const topic = (config: Record<string, string> = {}, rest: Partial<TopicDescription> = {}): TopicDescription => ({
  name: spec.name,
  partitions: 3,
  replicationFactor: 1,
  config: { ...safe, ...config },
  ...rest,
});

describe('checkTopics', () => {
  it('accepts what was made as it should be', () => {
    expect(() => checkTopics([spec], [topic()])).not.toThrow();
    const compacted: TopicSpec = { name: 'evt.Flight', partitions: 3, cleanup: 'compact', retentionMs: 1 };
    expect(() => checkTopics([compacted], [topic({ 'cleanup.policy': 'compact', 'retention.ms': '604800000' })])).not.toThrow();
  });

  it.each([
    ['cleanup.policy', 'compact'],
    ['cleanup.policy', 'compact,delete'],
    ['retention.ms', '604800000'],
    ['retention.bytes', '1073741824'],
  ])('refuses a source of truth whose %s is %s', (name, value) => {
    expect(() => checkTopics([spec], [topic({ [name]: value })])).toThrow(expect.objectContaining({ code: 'UNSAFE_TOPIC' }) as Error);
  });

  it('refuses replicas that would let one broker lose what was acknowledged, or let nothing be written', () => {
    expect(() => checkTopics([spec], [topic({}, { replicationFactor: 3 })])).toThrow(/loss of one broker/);
    expect(() => checkTopics([spec], [topic({ 'min.insync.replicas': '2' })])).toThrow(/nothing could be written/);
    expect(() => checkTopics([spec], [topic({ 'min.insync.replicas': '2' }, { replicationFactor: 3 })])).not.toThrow();
  });

  it('lists every problem of every topic, and puts the partitions first', () => {
    const other: TopicSpec = {
      name: 'registry',
      partitions: 1,
      cleanup: 'compact',
      retentionMs: -1,
      config: { 'min.compaction.lag.ms': '60000' },
    };
    const found = [
      topic({ 'retention.ms': '1' }, { partitions: 6 }),
      { ...topic({ 'min.compaction.lag.ms': '0' }), name: 'registry', partitions: 1 },
    ];
    expect(() => checkTopics([spec, other], found)).toThrow(
      expect.objectContaining({
        code: 'PARTITIONS_CHANGED',
        violations: [
          { pointer: 'evt.Flight', message: 'evt.Flight: has 6 partitions, 3 are wanted' },
          { pointer: 'evt.Flight', message: expect.stringContaining('retention.ms is 1') as string },
          { pointer: 'registry', message: expect.stringContaining('cleanup.policy is delete') as string },
          { pointer: 'registry', message: expect.stringContaining('min.compaction.lag.ms is 0') as string },
        ],
      }) as Error,
    );
  });
});

describe('topicConfig', () => {
  it('leaves time alone for a compacted topic and keeps history without bound', () => {
    expect(topicConfig({ name: 't', partitions: 1, cleanup: 'compact', retentionMs: 5 })).toEqual({ 'cleanup.policy': 'compact' });
    expect(topicConfig(spec)).toEqual({ 'cleanup.policy': 'delete', 'retention.ms': '-1', 'retention.bytes': '-1' });
  });
});
