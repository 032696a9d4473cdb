import { brokerProperties, propertiesFile, type Node } from './properties.js';

const node = (id: number): Node => ({
  id,
  clientPort: 100 + id,
  controllerPort: 200 + id,
  internalPort: 300 + id,
  folder: `/data/broker-${id}`,
});
const plain = { flushEveryWrite: false, security: undefined };

describe('brokerProperties', () => {
  it('keeps one copy on one broker, three on three of which two must have it', () => {
    const one = brokerProperties({ node: node(1), nodes: [node(1)], ...plain });
    expect(one).toMatchObject({
      'default.replication.factor': '1',
      'min.insync.replicas': '1',
      'controller.quorum.voters': '1@127.0.0.1:201',
    });
    const nodes = [node(1), node(2), node(3)];
    const three = brokerProperties({ node: node(2), nodes, ...plain });
    expect(three).toMatchObject({
      'node.id': '2',
      'default.replication.factor': '3',
      'min.insync.replicas': '2',
      'offsets.topic.replication.factor': '3',
      'transaction.state.log.min.isr': '2',
      'controller.quorum.voters': '1@127.0.0.1:201,2@127.0.0.1:202,3@127.0.0.1:203',
    });
  });

  it('listens on loopback alone and makes no topic by accident', () => {
    for (const security of [undefined, { tls: { keyStore: '/k', keyStorePassword: 'p' }, users: [] }]) {
      const properties = brokerProperties({ node: node(1), nodes: [node(1)], flushEveryWrite: false, security });
      expect(properties.listeners?.split(',').every((listener) => listener.includes('://127.0.0.1:'))).toBe(true);
      expect(properties['auto.create.topics.enable']).toBe('false');
    }
  });

  it('flushes each write when it is told to', () => {
    const flushing = brokerProperties({ node: node(1), nodes: [node(1)], ...plain, flushEveryWrite: true });
    expect(flushing['log.flush.interval.messages']).toBe('1');
    expect(brokerProperties({ node: node(1), nodes: [node(1)], ...plain })).not.toHaveProperty(['log.flush.interval.messages']);
  });

  it('keeps clients off the listener of the brokers when they have to authenticate', () => {
    const properties = brokerProperties({
      node: node(1),
      nodes: [node(1)],
      flushEveryWrite: false,
      security: { tls: { keyStore: '/k', keyStorePassword: 'p' }, users: [{ username: 'alice', password: 'secret' }] },
    });
    expect(properties.listeners).toBe('CLIENT://127.0.0.1:101,INTERNAL://127.0.0.1:301,CONTROLLER://127.0.0.1:201');
    expect(properties['listener.security.protocol.map']).toContain('CLIENT:SASL_SSL');
    expect(properties['listener.name.client.plain.sasl.jaas.config']).toContain('user_alice="secret"');
  });
});

describe('propertiesFile', () => {
  it('escapes what Java would read as an escape', () => {
    expect(propertiesFile({ 'log.dirs': 'C:\\data', a: 'b' })).toBe('log.dirs=C:\\\\data\na=b\n');
  });
});
