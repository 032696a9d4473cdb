import { randomUUID } from 'node:crypto';
import { BundleAnnouncedSchema, messageHeaders, SpoolError, subjectOf, type SchemaRegistry } from '@spool/schemas';
import type { BundleDescriptor, RegisteredBundle, Registry } from '@spool/sdk';
import type { Instance } from '@spool/streams';
import { orderRecords, type Actor } from '../consumers/index.js';
import { exclusively } from '../exclusive/index.js';
import { refusals, sameDescriptor } from './refusals.js';

export interface RegistrarOptions {
  readonly instance: Instance;
  readonly registry: Registry;
  readonly schemas: SchemaRegistry;
}

export interface Registrar {
  /**
   * Registers a descriptor that no instance announces: its topics, its schemas and its row.
   * @throws SpoolError BUNDLE_REFUSED with every reason; UNAVAILABLE when the registry does not take it up in time
   */
  register(descriptor: BundleDescriptor, actor: Actor): Promise<RegisteredBundle>;
}

const projectedWithinMs = 10_000;

export async function openRegistrar({ instance, registry, schemas }: RegistrarOptions): Promise<Registrar> {
  const { kafka, codec, topics, now } = instance;
  const announced = await codec.encoder(topics.announcements.name, BundleAnnouncedSchema);
  const { audit } = await orderRecords(instance);
  const exclusive = exclusively(instance, 'spool.registry.register');
  return {
    register: (descriptor, actor) =>
      exclusive(async (commit) => {
        const { id: bundle, version } = descriptor;
        // 1. Everything is checked before anything is written.
        const violations = await refusals(descriptor, { registry, schemas, topics });
        if (violations.length > 0) {
          throw new SpoolError('BUNDLE_REFUSED', `${bundle} ${version}: ${violations.map(({ message }) => message).join('; ')}`, {
            violations,
          });
        }
        // 2. What its messages need; doing it again changes nothing.
        const of = (kind: string): string[] => descriptor.components.filter((each) => each.kind === kind).map(({ name }) => name);
        await kafka.admin.ensureTopics([
          ...of('aggregate').flatMap((name) => [topics.commands(name), topics.events(name), topics.snapshots(name), topics.queries(name)]),
          ...of('projection').map((name) => topics.queries(name)),
        ]);
        for (const { kind, topic, schemaName, schema } of descriptor.payloads) {
          if (kind !== 'view') await schemas.register(subjectOf(topic, schemaName), schema);
        }
        // 3. Its row.
        const at = now();
        const text = JSON.stringify(descriptor);
        const value = announced.encode({ bundle, version, instance: '', incarnation: '', host: '', pid: 0, descriptor: text, at });
        const headers = messageHeaders({ id: randomUUID(), type: BundleAnnouncedSchema.fullName, source: instance.id, time: at });
        const key = `${bundle}@${version}`;
        await commit([{ topic: topics.announcements.name, key, value, headers }, audit(actor, 'bundle.register', key, '')]);
        return projected(registry, descriptor);
      }),
  };
}

/** Whoever gets the answer may ask for the bundle at once. */
function projected(registry: Registry, descriptor: BundleDescriptor): Promise<RegisteredBundle> {
  const find = (): RegisteredBundle | undefined => {
    const row = registry.bundles().find(({ id, version }) => id === descriptor.id && version === descriptor.version);
    return row !== undefined && sameDescriptor(row, descriptor) ? row : undefined;
  };
  return new Promise((resolve, reject) => {
    const done = (then: () => void): void => {
      clearTimeout(timer);
      forget();
      then();
    };
    const timer = setTimeout(
      () => done(() => reject(new SpoolError('UNAVAILABLE', 'the bundle was announced, and the registry has not taken it up yet'))),
      projectedWithinMs,
    );
    const look = (): void => {
      const row = find();
      if (row !== undefined) done(() => resolve(row));
    };
    const forget = registry.onChange(look);
    look();
  });
}
