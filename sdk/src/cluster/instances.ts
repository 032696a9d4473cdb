import { InstanceRowSchema, type Codec, type InstanceRow } from '@spool/schemas';
import { readTable, type Kafka, type TableReader, type TopicCatalogue } from '@spool/streams';

/** The instances of the cluster as a local table: a look-up needs no call. */
export interface Instances extends AsyncDisposable {
  get(id: string): InstanceRow | undefined;
  list(): readonly InstanceRow[];
  /** Those of a bundle that work: neither down nor draining nor gone. */
  live(bundle: string): readonly InstanceRow[];
  /** Its rows as they stand on the topic, with their position. */
  readonly table: Omit<TableReader<InstanceRow>, 'close'>;
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface InstancesOptions {
  readonly kafka: Kafka;
  readonly codec: Codec;
  readonly topics: TopicCatalogue;
  readonly onError: (error: unknown) => void;
}

const working: readonly InstanceRow['state'][] = ['starting', 'up', 'suspect'];

export async function openInstances({ kafka, codec, topics, onError }: InstancesOptions): Promise<Instances> {
  const decoder = codec.decoder(InstanceRowSchema);
  const table = await readTable<InstanceRow>({
    kafka,
    topic: topics.instances.name,
    prefix: 'i/',
    onError,
    decode: (_, value) => decoder.decode(value),
  });
  const list = (): readonly InstanceRow[] => [...table.entries()].map(([, row]) => row);
  return {
    get: (id) => table.get(`i/${id}`),
    list,
    live: (bundle) => list().filter((row) => row.bundle === bundle && working.includes(row.state)),
    table,
    onChange: (listener) => table.onChange(() => listener()),
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}
