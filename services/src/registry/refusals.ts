import {
  checkCompatibility,
  parseAvro,
  subjectOf,
  toSpoolError,
  type ParsedAvro,
  type SchemaRegistry,
  type Violation,
} from '@spool/schemas';
import type { BundleDescriptor, RegisteredBundle, Registry } from '@spool/sdk';
import type { TopicCatalogue } from '@spool/streams';

export interface Registered {
  readonly registry: Pick<Registry, 'bundles' | 'payloads' | 'payload'>;
  readonly schemas: Pick<SchemaRegistry, 'versions'>;
  readonly topics: TopicCatalogue;
}

/** Every reason for which a descriptor does not go with what is registered; empty when it does. */
export async function refusals(bundle: BundleDescriptor, registered: Registered): Promise<readonly Violation[]> {
  return [
    ...held(bundle, registered),
    ...twice(bundle),
    ...unknownPayloads(bundle, registered),
    ...owners(bundle, registered),
    ...topicNames(bundle, registered),
    ...(await schemas(bundle, registered)),
  ];
}

/** Instances that run under a version rely on its descriptor. */
function held(bundle: BundleDescriptor, { registry }: Registered): Violation[] {
  const row = registry.bundles().find(({ id, version }) => id === bundle.id && version === bundle.version);
  if (row === undefined || row.instances.length === 0) return [];
  if (sameDescriptor(row, bundle)) return [];
  const message = `${bundle.id} ${bundle.version} is held by ${row.instances.join(', ')} with another descriptor: raise the version`;
  return [{ pointer: '/version', message }];
}

function twice({ components, payloads }: BundleDescriptor): Violation[] {
  const of = (what: string, names: readonly string[]): Violation[] =>
    names.flatMap((name, index) =>
      names.indexOf(name) < index ? [{ pointer: `/${what}/${index}`, message: `${name} is declared twice` }] : [],
    );
  return [
    ...of(
      'components',
      components.map(({ name }) => name),
    ),
    ...of(
      'payloads',
      payloads.map(({ type }) => type),
    ),
  ];
}

function unknownPayloads({ components, payloads }: BundleDescriptor, { registry }: Registered): Violation[] {
  const known = new Set([...payloads, ...registry.payloads()].map(({ type }) => type));
  return components.flatMap(({ name, handles }, index) =>
    handles.flatMap((type, at) =>
      known.has(type)
        ? []
        : [{ pointer: `/components/${index}/handles/${at}`, message: `${name} handles ${type}, which no bundle declares` }],
    ),
  );
}

/** A command, a query or an event has one owner over all bundles, and a command one handler. */
function owners({ id, components, payloads }: BundleDescriptor, { registry }: Registered): Violation[] {
  const own = new Map(payloads.map((payload) => [payload.type, payload]));
  const handlers = new Map<string, string>();
  const second = components.flatMap(({ name, handles }, index) =>
    handles.flatMap((type, at): Violation[] => {
      const kind = own.get(type)?.kind ?? registry.payload('command', type)?.kind;
      if (kind !== 'command') return [];
      const pointer = `/components/${index}/handles/${at}`;
      const foreign = own.has(type) ? undefined : registry.payload('command', type);
      if (foreign !== undefined && foreign.bundle !== id) {
        return [{ pointer, message: `the command ${type} is handled by ${foreign.bundle}/${foreign.component}: a command has one owner` }];
      }
      const first = handlers.get(type);
      handlers.set(type, name);
      return first === undefined ? [] : [{ pointer, message: `the command ${type} is handled by ${first} too: a command has one owner` }];
    }),
  );
  return [
    ...second,
    ...payloads.flatMap(({ kind, type, component }, index): Violation[] => {
      const pointer = `/payloads/${index}`;
      if (!components.some(({ name }) => name === component)) {
        return [{ pointer: `${pointer}/component`, message: `there is no component ${component} in this bundle` }];
      }
      const other = registry.payload(kind, type);
      if (other === undefined || other.bundle === id) return [];
      return [{ pointer: `${pointer}/type`, message: `the ${kind} ${type} is owned by ${other.bundle}/${other.component}` }];
    }),
  ];
}

/** A payload travels on the topic of its owner, and so never on one of the platform's. */
function topicNames({ components, payloads }: BundleDescriptor, { topics }: Registered): Violation[] {
  const services = new Set(components.filter(({ kind }) => kind === 'service').map(({ name }) => name));
  // Commands of a service travel on three lanes, and the middle one stands for them.
  const commands = (name: string) => (services.has(name) ? topics.service(name, 'normal') : topics.commands(name));
  return payloads.flatMap(({ kind, type, component, topic }, index) => {
    const of = { command: commands, event: topics.events, query: topics.queries, view: topics.queries }[kind];
    const expected = of(component).name;
    if (topic === expected) return [];
    return [{ pointer: `/payloads/${index}/topic`, message: `the ${kind} ${type} of ${component} travels on ${expected}` }];
  });
}

async function schemas({ payloads }: BundleDescriptor, registered: Registered): Promise<Violation[]> {
  const found = await Promise.all(
    payloads.map(async ({ topic, schemaName, schema }, index): Promise<Violation[]> => {
      const pointer = `/payloads/${index}/schema`;
      let parsed: ParsedAvro;
      try {
        parsed = parseAvro(JSON.stringify(schema), { checkDefaults: true });
      } catch (thrown) {
        return [{ pointer, message: toSpoolError(thrown).message }];
      }
      const name = fullNameIn(schema);
      if (name !== schemaName) return [{ pointer, message: `defines ${name ?? 'no record'}, and schemaName says ${schemaName}` }];
      const earlier = await registered.schemas.versions(subjectOf(topic, schemaName));
      const versions = earlier.map((each) => ({ version: each.version, parse: () => parseAvro(JSON.stringify(each.schema)) }));
      return checkCompatibility('FULL_TRANSITIVE', parsed, versions).map(({ version, description, info }) => ({
        pointer,
        message: `not compatible with version ${version} of ${schemaName}: ${description.includes(info) ? description : `${description}: ${info}`}`,
      }));
    }),
  );
  return found.flat();
}

function fullNameIn(schema: unknown): string | undefined {
  const { type, name, namespace } = schema as { type?: unknown; name?: unknown; namespace?: unknown };
  if (type !== 'record' || typeof name !== 'string') return undefined;
  return name.includes('.') || typeof namespace !== 'string' || namespace === '' ? name : `${namespace}.${name}`;
}

/** Where the code stands is not compared: it moves with every build, and changes nothing that others rely on. */
export function sameDescriptor(row: RegisteredBundle, descriptor: BundleDescriptor): boolean {
  const { generation: _, instances: __, updatedAt: ___, ...registered } = row;
  return canonical(unplaced(registered)) === canonical(unplaced(descriptor));
}

const unplaced = ({ repository: _, components, ...rest }: BundleDescriptor): object => ({
  ...rest,
  components: components.map(({ source: __, ...component }) => component),
});

/** Without the order of keys. */
const canonical = (value: unknown): string =>
  JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
