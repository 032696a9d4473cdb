import { ClusterConfigSchema, type ClusterConfig, type Codec } from '@spool/schemas';
import type { Kafka } from '../kafka/port.js';
import { readTable } from '../table/table.js';
import type { TopicCatalogue } from '../topics/topics.js';

/** What holds until somebody changes it. */
export const defaultClusterConfig: ClusterConfig = {
  heartbeatMs: 2000,
  suspectAfterMissed: 3,
  downMs: 10_000,
  forgetMs: 24 * 60 * 60 * 1000,
  leaseMs: 15_000,
  nodeEvents: 'kafka',
  version: 0,
  actor: '',
  at: 0,
};
/** The one row of the topic. */
export const clusterConfigKey = 'config';

/** The settings of the cluster as they stand on `cluster.config`, followed live. */
export interface LiveConfig extends AsyncDisposable {
  readonly current: ClusterConfig;
  /** Called after each change. */
  onChange(listener: (config: ClusterConfig) => void): () => void;
  close(): Promise<void>;
}

export interface LiveConfigOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly onError: (error: unknown) => void;
}

/** Resolves when what stands there at the call has been read. */
export async function followClusterConfig({ kafka, codec, topics, onError }: LiveConfigOptions): Promise<LiveConfig> {
  const decoder = codec.decoder(ClusterConfigSchema);
  const table = await readTable<ClusterConfig>({
    kafka,
    topic: topics.clusterConfig.name,
    onError,
    decode: (_, value) => decoder.decode(value),
  });
  const current = (): ClusterConfig => table.get(clusterConfigKey) ?? defaultClusterConfig;
  return {
    get current() {
      return current();
    },
    onChange: (listener) => table.onChange(() => listener(current())),
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}
