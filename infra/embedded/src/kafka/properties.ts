/** One broker of the embedded cluster, which is its own controller. */
export interface Node {
  readonly id: number;
  readonly clientPort: number;
  readonly controllerPort: number;
  /** A plaintext listener for the brokers themselves; only where clients have to authenticate. */
  readonly internalPort: number | undefined;
  /** Holds the node's log, its settings and what it writes down. */
  readonly folder: string;
}

/** The names of files that the SASL_SSL listener needs. */
export interface TlsFiles {
  readonly keyStore: string;
  readonly keyStorePassword: string;
}

export interface KafkaUser {
  readonly username: string;
  readonly password: string;
}

export interface BrokerSettings {
  readonly node: Node;
  readonly nodes: readonly Node[];
  readonly flushEveryWrite: boolean;
  readonly security: { readonly tls: TlsFiles; readonly users: readonly KafkaUser[] } | undefined;
}

/**
 * The settings of one broker. What differs from Kafka's defaults is there because one machine runs it (replication, partitions of
 * its own topics), because the defaults make starts and fail-overs slow (rebalance delay, sessions), or because it is safer
 * (no topics by accident).
 */
export function brokerProperties({ node, nodes, flushEveryWrite, security }: BrokerSettings): Readonly<Record<string, string>> {
  const replicas = nodes.length;
  const minIsr = replicas === 1 ? 1 : 2;
  return {
    'process.roles': 'broker,controller',
    'node.id': String(node.id),
    'controller.quorum.voters': nodes.map(({ id, controllerPort }) => `${id}@127.0.0.1:${controllerPort}`).join(','),
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': `${node.folder}/log`,
    ...listeners(node, security),
    // Topics are made by their owners, with their settings, or not at all.
    'auto.create.topics.enable': 'false',
    'default.replication.factor': String(replicas),
    'min.insync.replicas': String(minIsr),
    'offsets.topic.replication.factor': String(replicas),
    'offsets.topic.num.partitions': '4',
    'transaction.state.log.replication.factor': String(replicas),
    'transaction.state.log.min.isr': String(minIsr),
    'transaction.state.log.num.partitions': '4',
    'share.coordinator.state.topic.replication.factor': String(replicas),
    'share.coordinator.state.topic.min.isr': String(minIsr),
    'share.coordinator.state.topic.num.partitions': '1',
    'unclean.leader.election.enable': 'false',
    'group.initial.rebalance.delay.ms': '0',
    'group.min.session.timeout.ms': '1000',
    // Positions of a bundle that is not run for a month are still there when it comes back.
    'offsets.retention.minutes': String(60 * 24 * 30),
    'transaction.max.timeout.ms': '60000',
    'message.max.bytes': String(8 * 1024 * 1024),
    'replica.fetch.max.bytes': String(8 * 1024 * 1024),
    'log.segment.bytes': String(256 * 1024 * 1024),
    'log.retention.check.interval.ms': '60000',
    'log.cleaner.dedupe.buffer.size': String(16 * 1024 * 1024),
    // One machine has few cores; each pool is otherwise sized for a server.
    'num.network.threads': '2',
    'num.io.threads': '4',
    'background.threads': '2',
    // A broker that was killed may not come back before its session has ended: with the default of 9 s that is the time to recover.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'controller.quorum.election.timeout.ms': '500',
    'controller.quorum.fetch.timeout.ms': '1000',
    ...(flushEveryWrite ? { 'log.flush.interval.messages': '1' } : {}),
  };
}

function listeners(node: Node, security: BrokerSettings['security']): Record<string, string> {
  const at = (name: string, port: number): string => `${name}://127.0.0.1:${port}`;
  const controller = at('CONTROLLER', node.controllerPort);
  if (security === undefined || node.internalPort === undefined) {
    return {
      listeners: `${at('CLIENT', node.clientPort)},${controller}`,
      'listener.security.protocol.map': 'CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      'inter.broker.listener.name': 'CLIENT',
    };
  }
  const { tls, users } = security;
  const plain = users.map(({ username, password }) => ` user_${username}="${password}"`).join('');
  return {
    listeners: `${at('CLIENT', node.clientPort)},${at('INTERNAL', node.internalPort)},${controller}`,
    'listener.security.protocol.map': 'CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'INTERNAL',
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
    'listener.name.client.plain.sasl.jaas.config': `org.apache.kafka.common.security.plain.PlainLoginModule required${plain};`,
    'listener.name.client.scram-sha-256.sasl.jaas.config': 'org.apache.kafka.common.security.scram.ScramLoginModule required;',
    'listener.name.client.scram-sha-512.sasl.jaas.config': 'org.apache.kafka.common.security.scram.ScramLoginModule required;',
    'listener.name.client.ssl.keystore.type': 'PKCS12',
    'listener.name.client.ssl.keystore.location': tls.keyStore,
    'listener.name.client.ssl.keystore.password': tls.keyStorePassword,
    'listener.name.client.ssl.key.password': tls.keyStorePassword,
  };
}

/** As a Java properties file; a backslash begins an escape there. */
export function propertiesFile(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value.replaceAll('\\', '\\\\')}\n`)
    .join('');
}
