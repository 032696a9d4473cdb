import { BundleRowSchema, SpoolError, type RecordDefinition, type RecordSchema } from '@spool/schemas';
import { readTable, type TableReader } from '@spool/streams';
import { openAliases, type AliasesOptions } from './aliases.js';
import { bundleDescriptor, type BundleDescriptor, type ComponentDescriptor, type PayloadDescriptor } from '../bundle/descriptor.js';

export interface RegisteredBundle extends BundleDescriptor {
  readonly generation: number;
  /** Ids of the connected instances. */
  readonly instances: readonly string[];
  readonly updatedAt: number;
}
export interface RegisteredPayload extends PayloadDescriptor {
  readonly bundle: string;
  readonly bundleVersion: string;
  /** For encoding and decoding by this version of the payload. */
  readonly recordSchema: RecordSchema<unknown>;
}
/** `consumer` is that of the copy that answers. */
export interface RegisteredComponent extends ComponentDescriptor {
  readonly bundle: string;
  readonly bundleVersion: string;
  /** The consumer of the read model, whichever copy answers; absent where nothing is consumed. */
  readonly readModel?: string;
}

/** The registry as a local table: a look-up needs no call. */
export interface Registry extends AsyncDisposable {
  bundles(): readonly RegisteredBundle[];
  components(): readonly RegisteredComponent[];
  payloads(): readonly RegisteredPayload[];
  /** The newest version of the payload. */
  payload(kind: PayloadDescriptor['kind'], type: string): RegisteredPayload | undefined;
  component(name: string): RegisteredComponent | undefined;
  /** Its rows as they stand on the topic, with their position. */
  readonly table: Omit<TableReader<RegisteredBundle>, 'close'>;
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}

interface Index {
  readonly bundles: readonly RegisteredBundle[];
  readonly components: ReadonlyMap<string, RegisteredComponent>;
  readonly payloads: ReadonlyMap<string, RegisteredPayload>;
}

export async function openRegistry({ kafka, codec, topics, onError }: AliasesOptions): Promise<Registry> {
  const decoder = codec.decoder(BundleRowSchema);
  const table = await readTable<RegisteredBundle>({
    kafka,
    topic: topics.bundles.name,
    prefix: 'b/',
    onError,
    async decode(key, value) {
      const row = await decoder.decode(value);
      const descriptor = bundleDescriptor.safeParse(JSON.parse(row.descriptor));
      if (!descriptor.success) throw new SpoolError('RECORD_UNREADABLE', `registry row ${key}: ${descriptor.error.message}`);
      return {
        ...descriptor.data,
        generation: row.generation,
        instances: row.members.map(({ instance }) => instance),
        updatedAt: row.updatedAt,
      };
    },
  });
  const aliases = await openAliases({ kafka, codec, topics, onError });
  let index: Index | undefined;
  table.onChange(() => (index = undefined));
  aliases.onChange(() => (index = undefined));
  const current = (): Index =>
    (index ??= build(
      [...table.entries()].map(([, row]) => row),
      aliases.live,
    ));
  const close = async (): Promise<void> => {
    await aliases.close();
    await table.close();
  };
  return {
    bundles: () => current().bundles,
    components: () => [...current().components.values()],
    payloads: () => [...current().payloads.values()],
    payload: (kind, type) => current().payloads.get(`${kind}/${type}`),
    component: (name) => current().components.get(name),
    table,
    onChange: (listener) => table.onChange(() => listener()),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Versions with instances stand before those without, then the latest: what it declares is what is sent. */
function build(rows: readonly RegisteredBundle[], live: (consumer: string) => string): Index {
  const bundles = rows.toSorted((a, b) => Math.min(1, a.instances.length) - Math.min(1, b.instances.length) || a.updatedAt - b.updatedAt);
  const components = new Map<string, RegisteredComponent>();
  const payloads = new Map<string, RegisteredPayload>();
  for (const bundle of bundles) {
    const of = { bundle: bundle.id, bundleVersion: bundle.version };
    for (const { consumer, ...component } of bundle.components) {
      const at = consumer === undefined ? {} : { consumer: live(consumer), readModel: consumer };
      components.set(component.name, { ...component, ...at, ...of });
    }
    for (const payload of bundle.payloads) {
      const recordSchema = { fullName: payload.schemaName, schema: payload.schema as RecordDefinition };
      payloads.set(`${payload.kind}/${payload.type}`, { ...payload, ...of, recordSchema });
    }
  }
  return { bundles, components, payloads };
}
