/** Renders the chart of infra/kubernetes/spool with Helm's own engine. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { mavenJars } from '@spool/embedded';
import { parseAllDocuments } from 'yaml';

const inInfra = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const chart = inInfra('kubernetes/spool');

/** A document of Kubernetes as it was rendered. */
export interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
  readonly [field: string]: unknown;
}

export interface Rendered {
  /** What `helm lint --strict` says; its first line is `passed` or `failed`. */
  readonly lint: string;
  /** By the name of the values. */
  readonly resources: ReadonlyMap<string, readonly Resource[]>;
  /** Why Helm refused values, by their name. */
  readonly refused: ReadonlyMap<string, string>;
}

/** Renders the chart as the release `prod` in the namespace `events`, once with each of the values. @throws as `mavenJars` */
export async function renderChart(values: Readonly<Record<string, unknown>>): Promise<Rendered> {
  const jars = await mavenJars(inInfra('deployment/helm'), 'Helm', () => undefined);
  const folder = await mkdtemp(join(tmpdir(), 'spool-chart-'));
  try {
    for (const [name, value] of Object.entries(values)) await writeFile(join(folder, `${name}.values.json`), JSON.stringify(value));
    const classPath = [jars, join(jars, '*')].join(delimiter);
    await promisify(execFile)('java', ['-cp', classPath, 'spool.deployment.RenderChart', chart, folder], { timeout: 60_000 });
    const resources = new Map<string, readonly Resource[]>();
    const refused = new Map<string, string>();
    for (const file of await readdir(folder)) {
      const name = file.replace(/\..*$/, '');
      const text = await readFile(join(folder, file), 'utf8');
      if (file.endsWith('.refused')) refused.set(name, text);
      if (file.endsWith('.yaml')) resources.set(name, resourcesIn(text));
    }
    return { lint: await readFile(join(folder, 'lint'), 'utf8'), resources, refused };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Of a field that is there twice YAML keeps one and says so; Helm's engine says nothing. */
const resourcesIn = (text: string): readonly Resource[] =>
  parseAllDocuments(text, { uniqueKeys: true }).map((document) => {
    if (document.errors.length > 0) throw document.errors[0]!;
    return document.toJS() as Resource;
  });
