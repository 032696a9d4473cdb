import { SpoolError, type AvroSchema, type RecordSchema } from '@spool/schemas';
import type { TopicCatalogue } from '@spool/streams';
import { priorities } from '../service/priorities.js';
import type { Service } from '../service/service.js';
import type { Invoker } from '../invoker/invoker.js';
import type { Observer } from '../observer/observer.js';
import { boundContexts } from '../context/context.js';
import type { EventSource } from '../messages.js';
import type { Bundle, Component } from './bundle.js';
import { sourceOf } from './source.js';
import { bundleDescriptor, consumerId, type BundleDescriptor, type ComponentDescriptor, type PayloadDescriptor } from './descriptor.js';

/** What the bundle is made of, derived from its components. @throws SpoolError INVALID_CONFIG with every problem found. */
export function describe(bundle: Bundle, topics: TopicCatalogue): BundleDescriptor {
  const parts = bundle.components.map((component) => describeComponent(bundle, component, topics));
  const result = bundleDescriptor.safeParse({
    id: bundle.id,
    version: bundle.version,
    description: bundle.description,
    ...(bundle.repository === undefined ? {} : { repository: bundle.repository.url }),
    components: parts.map((part, index) => ({ ...part.component, ...placeOf(bundle, bundle.components[index]!) })),
    payloads: parts.flatMap((part) => part.payloads),
  });
  if (!result.success) {
    const violations = result.error.issues.map(({ path, message }) => ({ pointer: `/${path.join('/')}`, message }));
    throw new SpoolError('INVALID_CONFIG', `bundle ${bundle.id}: ${violations.map((v) => `${v.pointer} ${v.message}`).join('; ')}`, {
      violations,
    });
  }
  const twice = repeated([
    ...result.data.payloads.map(({ type }) => type),
    ...result.data.components.map((component) => `component ${component.name}`),
  ]);
  if (twice.length > 0) throw new SpoolError('INVALID_CONFIG', `bundle ${bundle.id} declares twice: ${twice.join(', ')}`);
  return result.data;
}

interface Part {
  readonly component: ComponentDescriptor;
  readonly payloads: readonly PayloadDescriptor[];
}

function describeComponent(bundle: Bundle, component: Component, topics: TopicCatalogue): Part {
  const { name: componentName, kind, description } = component;
  const base = { name: componentName, kind, description, sends: [] as string[], replayable: false };
  const payload = (type: string, kindOf: PayloadDescriptor['kind'], topic: string, { fullName, schema }: RecordSchema<unknown>) => ({
    type,
    kind: kindOf,
    component: componentName,
    topic,
    schemaName: fullName,
    schema: schema as AvroSchema,
  });
  switch (component.kind) {
    case 'aggregate': {
      const commands = topics.commands(componentName).name;
      const events = topics.events(componentName).name;
      return {
        component: {
          ...base,
          handles: Object.keys(component.commands),
          sends: Object.keys(component.events),
          consumer: consumerId(bundle.id, componentName, 1),
          sources: [commands],
        },
        payloads: [
          ...Object.entries(component.commands).map(([type, schema]) => payload(type, 'command', commands, schema)),
          ...Object.entries(component.events).map(([type, schema]) => payload(type, 'event', events, schema)),
        ],
      };
    }
    case 'service': {
      const commands = topics.service(componentName, 'normal').name;
      const events = topics.events(componentName).name;
      return {
        component: {
          ...base,
          handles: Object.keys(component.commands),
          sends: Object.keys(component.events),
          ...streamedBy(component),
          consumer: consumerId(bundle.id, componentName, 1),
          sources: priorities.map(([priority]) => topics.service(componentName, priority).name),
        },
        payloads: [
          ...Object.entries(component.commands).map(([type, schema]) => payload(type, 'command', commands, schema)),
          ...Object.entries(component.events).map(([type, schema]) => payload(type, 'event', events, schema)),
        ],
      };
    }
    case 'projector':
      return {
        component: {
          ...base,
          handles: component.onBatch === undefined ? Object.keys(component.handlers) : eventsOf(component.of),
          ...sentBy({ sends: [], asks: component.asks }),
          ...readBy(bundle, component, component.version, topics),
          replayable: true,
          ...(component.partitioned === true ? { placement: 'partitioned' as const } : {}),
          copyable: component.home === undefined && boundContexts(component.contexts).length === 1,
        },
        payloads: [],
      };
    case 'projection': {
      const topic = topics.queries(componentName).name;
      return {
        component: {
          ...base,
          handles: Object.keys(component.queries),
          consumer: consumerId(bundle.id, componentName, 1),
          sources: [topic],
        },
        payloads: Object.entries(component.queries).flatMap(([type, { request, view }]) => [
          { ...payload(type, 'query', topic, request), view: `${type}View` },
          payload(`${type}View`, 'view', topic, view),
        ]),
      };
    }
    case 'saga':
      return {
        component: {
          ...base,
          handles: Object.keys(component.on),
          ...sentBy({ sends: component.sends, asks: [] }),
          ...readBy(bundle, component, 1, topics),
        },
        payloads: [],
      };
    case 'observer':
      return {
        component: {
          ...base,
          handles: Object.keys(component.handlers),
          ...sentBy(component),
          ...readBy(bundle, component, 1, topics),
        },
        payloads: [],
      };
    case 'invoker':
      return { component: { ...base, handles: [], ...sentBy(component), ...ticks(bundle, component, topics) }, payloads: [] };
  }
}

function placeOf({ repository }: Bundle, component: Component): Pick<ComponentDescriptor, 'source'> {
  const source = sourceOf(component);
  if (source === undefined || repository === undefined) return source === undefined ? {} : { source };
  const { url, directory = '', ref = 'main' } = repository;
  const path = [directory, source.file].filter((part) => part !== '').join('/');
  return { source: { ...source, url: `${url.replace(/\/$/, '')}/blob/${ref}/${path}#L${source.line}` } };
}

function streamedBy({ streams }: Service): Pick<ComponentDescriptor, 'streams'> {
  const all = Object.entries(streams).map(([command, { events }]) => ({ command, events: Object.keys(events) }));
  return all.length === 0 ? {} : { streams: all };
}

/** Commands and queries. */
function sentBy({ sends, asks }: Pick<Observer, 'sends' | 'asks'>): Pick<ComponentDescriptor, 'sends' | 'asks'> {
  const queries = [...new Set(asks.flatMap((asked) => Object.keys(asked.queries)))];
  const commands = sends.flatMap(({ commands, streams = {} }) => [...Object.keys(commands), ...Object.keys(streams)]);
  const all = new Set([...commands, ...queries]);
  return { sends: [...all], ...(queries.length === 0 ? {} : { asks: queries }) };
}
/** How a component that reads events does so. */
const readBy = (
  { id }: Bundle,
  { name, of, contexts, unknown }: Pick<Observer, 'name' | 'of' | 'contexts' | 'unknown'>,
  version: number,
  topics: TopicCatalogue,
) => ({
  consumer: consumerId(id, name, version, boundContexts(contexts)[0]),
  sources: of.map((source) => topics.events(source.name).name),
  contexts: [...boundContexts(contexts)],
  unknown,
});
const eventsOf = (sources: readonly EventSource[]): string[] => [...new Set(sources.flatMap(({ events }) => Object.keys(events)))];
const ticks = (bundle: Bundle, { way, name }: Invoker, topics: TopicCatalogue): Pick<ComponentDescriptor, 'consumer' | 'sources'> =>
  way === 'cron' ? { consumer: consumerId(bundle.id, name, 1), sources: [topics.cron(name).name] } : {};

function repeated(names: readonly string[]): string[] {
  const seen = new Set<string>();
  return names.filter((each) => seen.size === seen.add(each).size);
}
