/** What the log says: every subject, version, id, setting and mode. Built by applying changes in the order of the log. */
import { createHash } from 'node:crypto';
import type { Change, ConfigValue, SchemaReference, SchemaValue } from './records.js';

export const modes = ['READWRITE', 'READONLY', 'READONLY_OVERRIDE', 'IMPORT'] as const;
export type Mode = (typeof modes)[number];

/** What makes two schemas one: type, canonical text and references. */
export function contentKey(schema: Pick<SchemaValue, 'schemaType' | 'schema' | 'references'>): string {
  const references = (schema.references ?? []).map(({ name, subject, version }) => [name, subject, version]);
  return createHash('sha256')
    .update(JSON.stringify([schema.schemaType ?? 'AVRO', references, schema.schema]))
    .digest('base64');
}

/** The lists inside are replaced, never changed, so a fork shares them. */
export class RegistryState {
  private readonly subjects: Map<string, readonly SchemaValue[]>;
  private readonly ids: Map<number, readonly SchemaValue[]>;
  private readonly contents: Map<string, number>;
  private readonly configs: Map<string | null, ConfigValue>;
  private readonly modes: Map<string | null, Mode>;
  private highestId: number;

  constructor(other?: RegistryState) {
    this.subjects = new Map(other?.subjects);
    this.ids = new Map(other?.ids);
    this.contents = new Map(other?.contents);
    this.configs = new Map(other?.configs);
    this.modes = new Map(other?.modes);
    this.highestId = other?.highestId ?? 0;
  }

  /** The highest id that was ever given out. */
  get maxId(): number {
    return this.highestId;
  }
  /** Ascending, including those that have deleted versions only. */
  subjectNames(): readonly string[] {
    return [...this.subjects.keys()].sort();
  }
  /** Ascending by version, with the deleted ones; empty for an unknown subject. */
  versions(subject: string): readonly SchemaValue[] {
    return this.subjects.get(subject) ?? [];
  }
  liveVersions(subject: string): readonly SchemaValue[] {
    return this.versions(subject).filter((row) => !row.deleted);
  }
  version(subject: string, version: number): SchemaValue | undefined {
    return this.versions(subject).find((row) => row.version === version);
  }
  /** Where the schema of an id stands, with the deleted places; its content is the same everywhere. */
  places(id: number): readonly SchemaValue[] {
    return this.ids.get(id) ?? [];
  }
  idOf(content: string): number | undefined {
    return this.contents.get(content);
  }
  config(subject: string | null): ConfigValue | undefined {
    return this.configs.get(subject);
  }
  mode(subject: string | null): Mode | undefined {
    return this.modes.get(subject);
  }
  /** Subject, else whole registry, else READWRITE; READONLY_OVERRIDE of the whole registry goes before all. */
  modeInScope(subject: string | null): Mode {
    const whole = this.modes.get(null);
    return whole === 'READONLY_OVERRIDE' ? whole : (this.modes.get(subject) ?? whole ?? 'READWRITE');
  }
  /** Ids of live schemas that refer to this version, ascending. */
  referrers(subject: string, version?: number): readonly number[] {
    const found = new Set<number>();
    const hits = (reference: SchemaReference) => reference.subject === subject && (version === undefined || reference.version === version);
    for (const rows of this.subjects.values()) {
      for (const row of rows) if (!row.deleted && row.references?.some(hits) === true) found.add(row.id);
    }
    return [...found].sort((a, b) => a - b);
  }

  fork(): RegistryState {
    return new RegistryState(this);
  }

  /** False when the change was refused: an id that belongs to another schema keeps it, as in Confluent's registry. */
  apply(change: Change): boolean {
    switch (change.type) {
      case 'SCHEMA':
        return change.value === null ? this.remove(change.subject, change.version) : this.put(change.subject, change.version, change.value);
      case 'CONFIG':
        return assign(this.configs, change.subject, change.value);
      case 'MODE':
        return assign(this.modes, change.subject, modes.find((mode) => mode === change.value?.mode) ?? null);
      case 'DELETE_SUBJECT':
        for (const row of this.liveVersions(change.subject)) {
          if (row.version <= change.version) this.put(row.subject, row.version, { ...row, deleted: true });
        }
        return true;
      case 'NOOP':
        this.highestId = Math.max(this.highestId, change.maxId);
        return true;
    }
  }

  private put(subject: string, version: number, value: SchemaValue): boolean {
    const [holder] = this.places(value.id);
    if (holder !== undefined && (holder.schema !== value.schema || holder.schemaType !== value.schemaType)) return false;
    this.remove(subject, version);
    const row: SchemaValue = { ...value, subject, version };
    this.subjects.set(
      subject,
      [...this.versions(subject), row].sort((a, b) => a.version - b.version),
    );
    this.ids.set(row.id, [...this.places(row.id), row]);
    this.contents.set(contentKey(row), row.id);
    this.highestId = Math.max(this.highestId, row.id);
    return true;
  }

  private remove(subject: string, version: number): boolean {
    const row = this.version(subject, version);
    if (row === undefined) return true;
    replace(
      this.subjects,
      subject,
      this.versions(subject).filter((other) => other !== row),
    );
    const rest = this.places(row.id).filter((other) => other !== row);
    replace(this.ids, row.id, rest);
    const content = contentKey(row);
    if (!rest.some((other) => contentKey(other) === content) && this.contents.get(content) === row.id) this.contents.delete(content);
    return true;
  }
}

function replace<K, V>(map: Map<K, readonly V[]>, key: K, values: readonly V[]): void {
  if (values.length === 0) map.delete(key);
  else map.set(key, values);
}

function assign<K, V>(map: Map<K, V>, key: K, value: V | null): boolean {
  if (value === null) map.delete(key);
  else map.set(key, value);
  return true;
}
