/**
 * The one text of a schema that is stored and compared: minified, attributes in the order in which Avro's Java library writes them,
 * since Confluent's registry stores that text and finds a schema by its hash. Docs, defaults and aliases are part of it.
 */
import { renderJson, type JsonObject } from './exact-json.js';
import { fullName, isNamed, type Field, type FullName, type NamedSchema, type ParsedAvro, type Schema } from './parsed.js';

export interface RenderAvroOptions {
  /** Write types of the references out where they are first used, instead of their mere name. @default false */
  readonly resolved?: boolean;
  /** Also sort what has no order of its own, and drop empty docs: `normalize=true`. @default false */
  readonly normalize?: boolean;
}

/** The canonical text. */
export function renderAvro({ schema, external }: ParsedAvro, { resolved = false, normalize = false }: RenderAvroOptions = {}): string {
  return render(schema, '', { written: new Set(resolved ? [] : external), normalize });
}

interface Pen {
  readonly written: Set<NamedSchema>;
  readonly normalize: boolean;
}

function render(schema: Schema, namespace: string, pen: Pen): string {
  if (schema.kind === 'union') return `[${schema.branches.map((branch) => render(branch, namespace, pen)).join(',')}]`;
  if (isNamed(schema)) return renderNamed(schema, namespace, pen);
  const props = renderProps(schema.props, pen);
  if (schema.kind === 'array') return object([['type', '"array"'], ['items', render(schema.items, namespace, pen)], ...props]);
  if (schema.kind === 'map') return object([['type', '"map"'], ['values', render(schema.values, namespace, pen)], ...props]);
  return props.length === 0 ? `"${schema.kind}"` : object([['type', `"${schema.kind}"`], ...props]);
}

type Member = readonly [key: string, json: string];
const object = (members: readonly (Member | undefined)[]) =>
  `{${members.flatMap((member) => (member === undefined ? [] : [`${JSON.stringify(member[0])}:${member[1]}`])).join(',')}}`;
const list = (items: readonly string[]) => `[${items.join(',')}]`;
const text = (value: string) => JSON.stringify(value);

function renderNamed(schema: NamedSchema, namespace: string, pen: Pen): string {
  if (pen.written.has(schema)) return text(relative(schema.name, namespace));
  pen.written.add(schema);
  const space = schema.name.namespace;
  const head: (Member | undefined)[] = [
    ['type', text(schema.kind === 'record' && schema.isError ? 'error' : schema.kind)],
    ['name', text(schema.name.name)],
    space === namespace ? undefined : ['namespace', text(space)],
    doc(schema.doc, pen),
  ];
  const aliases = schema.aliases.map((alias) => (pen.normalize ? fullName(alias) : relative(alias, space)));
  const tail = [...renderProps(schema.props, pen), renderAliases(aliases, pen)];
  switch (schema.kind) {
    case 'record':
      return object([...head, ['fields', list(schema.fields.map((field) => renderField(field, space, pen)))], ...tail]);
    case 'enum':
      return object([
        ...head,
        ['symbols', list(schema.symbols.map(text))],
        schema.default === undefined ? undefined : ['default', text(schema.default)],
        ...tail,
      ]);
    case 'fixed':
      return object([...head, ['size', String(schema.size)], ...tail]);
  }
}

function renderField(field: Field, namespace: string, pen: Pen): string {
  return object([
    ['name', text(field.name)],
    ['type', render(field.type, namespace, pen)],
    doc(field.doc, pen),
    field.default === undefined ? undefined : ['default', renderJson(field.default, pen.normalize)],
    field.order === 'ascending' ? undefined : ['order', text(field.order)],
    renderAliases(field.aliases, pen),
    ...renderProps(field.props, pen),
  ]);
}

const relative = (name: FullName, namespace: string) => (name.namespace === namespace ? name.name : fullName(name));
const doc = (value: string | undefined, pen: Pen): Member | undefined =>
  value === undefined || (pen.normalize && value === '') ? undefined : ['doc', text(value)];

function renderAliases(aliases: readonly string[], pen: Pen): Member | undefined {
  if (aliases.length === 0) return undefined;
  const unique = [...new Set(aliases)];
  return ['aliases', list((pen.normalize ? unique.sort() : unique).map(text))];
}

function renderProps(props: JsonObject, pen: Pen): Member[] {
  const keys = pen.normalize ? Object.keys(props).sort() : Object.keys(props);
  return keys.map((key) => [key, renderJson(props[key]!, pen.normalize)]);
}
