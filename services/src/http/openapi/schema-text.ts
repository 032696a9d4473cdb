/** As much of JSON Schema as the generator writes. */
export interface SchemaNode {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode | boolean;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly SchemaNode[];
  readonly oneOf?: readonly SchemaNode[];
  readonly allOf?: readonly SchemaNode[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly default?: unknown;
}

/** A schema as people write types: `{ id: string, limit?: integer (1 to 100) }`. A reference is written `{@Name}`. */
export function schemaText(schema: SchemaNode, indent = ''): string {
  if (schema.$ref !== undefined) return `{@${schema.$ref.split('/').at(-1)!}}`;
  const several = schema.anyOf ?? schema.oneOf;
  if (several !== undefined) return several.map((each) => schemaText(each, indent)).join(' | ');
  if (schema.allOf !== undefined) return schema.allOf.map((each) => schemaText(each, indent)).join(' & ');
  if (schema.enum !== undefined) return schema.enum.map((each) => JSON.stringify(each)).join(' | ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (typeof schema.items === 'object') return `list of ${schemaText(schema.items, indent)}`;
  if (schema.properties !== undefined || schema.type === 'object') return objectText(schema, indent);
  const type = typeof schema.type === 'string' ? schema.type : (schema.type?.join(' | ') ?? 'anything');
  return `${type}${limitsText(schema)}`;
}

function objectText({ properties = {}, required = [], additionalProperties }: SchemaNode, indent: string): string {
  const inner = `${indent}  `;
  const rest = typeof additionalProperties === 'object' ? [`${inner}[name]: ${schemaText(additionalProperties, inner)}`] : [];
  const lines = Object.entries(properties).map(([name, schema]) => {
    const comment = schema.description === undefined || schema.$ref !== undefined ? '' : `  // ${schema.description.replaceAll('\n', ' ')}`;
    return `${inner}${name}${required.includes(name) ? '' : '?'}: ${schemaText(schema, inner)}${comment}`;
  });
  const all = [...lines, ...rest];
  return all.length === 0 ? '{}' : `{\n${all.join('\n')}\n${indent}}`;
}

function limitsText({ format, pattern, minimum, maximum, minLength, maxLength, default: usual }: SchemaNode): string {
  const limits = [
    format,
    pattern === undefined ? undefined : `/${pattern}/`,
    minimum === undefined && maximum === undefined ? undefined : `${minimum ?? 'any'} to ${maximum ?? 'any'}`,
    minLength === undefined && maxLength === undefined ? undefined : `${minLength ?? 0} to ${maxLength ?? 'any'} characters`,
    usual === undefined ? undefined : `else ${JSON.stringify(usual)}`,
  ].filter((limit) => limit !== undefined);
  return limits.length === 0 ? '' : ` (${limits.join(', ')})`;
}
