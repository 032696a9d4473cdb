import type { AvroSchema } from '@spool/schemas';
import type { BundleDescriptor, ComponentDescriptor, PayloadDescriptor } from '../bundle/descriptor.js';

/** A descriptor as a tree for people. */
export function describeText(bundle: BundleDescriptor): string {
  const payloads = new Map(bundle.payloads.map((payload) => [payload.type, payload]));
  return [
    `${bundle.id} ${bundle.version}${said(bundle.description)}`,
    ...(bundle.repository === undefined ? [] : [bundle.repository]),
    ...bundle.components.flatMap((component) => ['', ...componentText(component, payloads)]),
    '',
  ].join('\n');
}

function componentText(component: ComponentDescriptor, payloads: ReadonlyMap<string, PayloadDescriptor>): readonly string[] {
  const {
    kind,
    name,
    description,
    source,
    consumer,
    sources = [],
    handles,
    asks = [],
    contexts = ['default'],
    unknown = 'skip',
  } = component;
  const sends = component.sends.filter((type) => !asks.includes(type));
  const bound = [
    ...(contexts.join() === 'default' ? [] : [`contexts ${contexts.join(', ')}, with a position for each`]),
    ...(unknown === 'skip' ? [] : [`unknown events: ${unknown}`]),
  ];
  const line = (type: string): string => {
    const payload = payloads.get(type);
    return `  ${type}${payload === undefined ? '' : fieldsOf(payload.schema)}${payload?.view === undefined ? '' : ` -> ${payload.view}`}`;
  };
  return [
    `${kind} ${name}${said(description)}`,
    ...(source === undefined ? [] : [`  ${source.url ?? `${source.file}:${source.line}`}`]),
    ...(consumer === undefined ? [] : [`  runs as ${consumer}, reads ${sources.join(', ')}`]),
    ...(bound.length === 0 ? [] : [`  ${bound.join('; ')}`]),
    ...(handles.length === 0 ? [] : ['  handles', ...handles.map((type) => `  ${line(type)}`)]),
    ...(sends.length === 0 ? [] : ['  sends', ...sends.map((type) => `  ${line(type)}`)]),
    ...(asks.length === 0 ? [] : ['  asks', ...asks.map((type) => `  ${line(type)}`)]),
  ];
}

const said = (description: string): string => (description === '' ? '' : `: ${description}`);

/** `{ origin: string, delayMinutes: int }` */
function fieldsOf(schema: AvroSchema): string {
  const { fields = [] } = schema as { fields?: readonly { name: string; type: AvroSchema }[] };
  return fields.length === 0 ? '' : ` { ${fields.map(({ name, type }) => `${name}: ${typeText(type)}`).join(', ')} }`;
}

function typeText(type: AvroSchema): string {
  if (typeof type === 'string') return type;
  if (Array.isArray(type)) return type.map((each: AvroSchema) => typeText(each)).join(' | ');
  const { type: inner, name, logicalType, items, values } = type as Exclude<AvroSchema, string | readonly AvroSchema[]>;
  if (logicalType !== undefined) return logicalType;
  if (inner === 'array') return `${typeText(items!)}[]`;
  if (inner === 'map') return `map of ${typeText(values!)}`;
  return name ?? typeText(inner);
}
