import { createHash } from 'node:crypto';
import { catalogue } from '@spool/schemas';
import { schemaText, type SchemaNode } from './schema-text.js';
import type { OpenApiDocument } from './document.js';

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
  readonly schema?: SchemaNode;
}
type Content = Readonly<Record<string, { readonly schema?: SchemaNode }>>;
interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly [string];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly $ref?: string; readonly description: string; readonly content?: Content }>>;
  readonly 'x-required-role': readonly string[];
  readonly 'x-problem-codes': readonly (keyof typeof catalogue)[];
  readonly 'x-websocket'?: boolean;
}

const style = `
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#0a6cbd}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem}
h1{margin:0}h2{margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}h4{margin:1rem 0 .25rem}
nav a{margin-right:1rem}a{color:var(--accent)}p{margin:.5rem 0;white-space:pre-line}
details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0;padding:.3rem .7rem}
summary{cursor:pointer}summary b{display:inline-block;min-width:4.2rem}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.6rem;border-radius:6px;overflow:auto;margin:.25rem 0}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line)}
.role{font-size:12px;border:1px solid var(--line);border-radius:9px;padding:0 .5rem}`;

/** The description as one page: no script, no outside address, so that a strict content security policy can stand. */
export function renderPage(document: OpenApiDocument): { readonly html: string; readonly styleHash: string } {
  const operations = Object.entries(document.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item as Record<string, Operation>).map(([method, operation]) => ({ path, method, operation })),
  );
  const tags = [...new Set(operations.map(({ operation }) => operation.tags[0]))].sort();
  const schemas = Object.entries((document.components?.schemas ?? {}) as Record<string, SchemaNode>);
  const { title, version, description } = document.info;
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${text(title)}</title><style>${style}</style></head><body>
<h1>${text(title)} <small>${text(version)}</small></h1>
${description === undefined ? '' : `<p>${text(description)}</p>`}
<p>Credentials: <code>X-API-Key: &lt;key&gt;</code> or <code>Authorization: Bearer &lt;key or token&gt;</code>. Machine-readable: <a href="openapi.json">openapi.json</a>.</p>
<nav>${[...tags, 'schemas', 'problems'].map((tag) => `<a href="#${text(tag)}">${text(tag)}</a>`).join('')}</nav>
${tags
  .map(
    (tag) =>
      `<h2 id="${text(tag)}">${text(tag)}</h2>${operations
        .filter(({ operation }) => operation.tags[0] === tag)
        .map(renderOperation)
        .join('')}`,
  )
  .join('')}
<h2 id="schemas">schemas</h2>
${schemas.map(([name, schema]) => `<details id="schema-${text(name)}"><summary><code>${text(name)}</code> ${text(schema.description ?? '')}</summary>${pre(schema)}</details>`).join('')}
<h2 id="problems">problems</h2>
<table><tr><th>status</th><th>code</th><th>meaning</th><th>what to do</th><th>retry</th></tr>
${Object.entries(catalogue)
  .map(
    ([code, entry]) =>
      `<tr id="problem-${code}"><td>${entry.status}</td><td><code>${code}</code></td><td>${text(entry.title)}</td><td>${text(entry.remedy)}</td><td>${entry.retryable}</td></tr>`,
  )
  .join('')}</table>
</body></html>`;
  return { html, styleHash: `sha256-${createHash('sha256').update(style).digest('base64')}` };
}

function renderOperation({
  path,
  method,
  operation,
}: {
  readonly path: string;
  readonly method: string;
  readonly operation: Operation;
}): string {
  const { parameters = [], requestBody } = operation;
  const roles = operation['x-required-role'];
  const succeeding = Object.entries(operation.responses).filter(
    ([, { $ref, content }]) =>
      $ref === undefined && Object.keys(content ?? { none: 0 }).some((type) => type !== 'application/problem+json'),
  );
  return `<details id="${text(operation.operationId)}"><summary><b>${operation['x-websocket'] === true ? 'WS' : method.toUpperCase()}</b> <code>${text(path)}</code> ${text(operation.summary)} <span class="role">${text(roles.join(' or ') || 'public')}</span></summary>
${operation.description === undefined ? '' : `<p>${text(operation.description)}</p>`}
${parameters.length === 0 ? '' : `<h4>Parameters</h4><table>${parameters.map(renderParameter).join('')}</table>`}
${requestBody === undefined ? '' : `<h4>Body</h4>${renderContent(requestBody.content)}`}
${succeeding.map(([status, { description, content = {} }]) => `<h4>${status} ${text(description)}</h4>${renderContent(content)}`).join('')}
<h4>Problems</h4><p>${operation['x-problem-codes'].map((code) => `<a href="#problem-${code}"><code>${code}</code></a>`).join(' ')}</p></details>`;
}

function renderParameter({ name, in: place, required, schema, description }: Parameter): string {
  return `<tr><td><code>${text(name)}</code></td><td>${text(place)}${required === true ? ', required' : ''}</td><td><code>${text(schemaText(schema ?? {}))}</code></td><td>${text(description ?? '')}</td></tr>`;
}

function renderContent(content: Content): string {
  const types = Object.keys(content).filter((type) => type !== 'application/problem+json');
  const schema = types[0] === undefined ? undefined : content[types[0]]?.schema;
  return types.length === 0 ? '' : `<code>${text(types.join(', '))}</code>${schema === undefined ? '' : pre(schema)}`;
}

const pre = (schema: SchemaNode): string =>
  `<pre>${text(schemaText(schema)).replaceAll(/\{@([\w.-]+)\}/g, '<a href="#schema-$1">$1</a>')}</pre>`;

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const text = (raw: string): string => raw.replaceAll(/[&<>"']/g, (character) => entities[character]!);
