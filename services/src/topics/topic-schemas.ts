import { SpoolError, subjectOf, type RecordDefinition, type RecordSchema, type SchemaRegistry } from '@spool/schemas';

/** The record types that have been registered for topics. */
export interface TopicSchemas {
  /** Full names of the types of a topic. */
  types(topic: string): Promise<readonly string[]>;
  /** The newest version; undefined where there is none. @throws SpoolError SCHEMA_INVALID for what is no record */
  newest(topic: string, type: string): Promise<RecordSchema<unknown> | undefined>;
}

/** A schema that was registered elsewhere is used after so long, in milliseconds. */
const keptMs = 5_000;

export function topicSchemas(registry: SchemaRegistry, now: () => number): TopicSchemas {
  const asked = new Map<string, { readonly at: number; readonly answer: Promise<unknown> }>();
  const kept = <T>(what: string, ask: () => Promise<T>): Promise<T> => {
    const known = asked.get(what);
    if (known !== undefined && now() - known.at < keptMs) return known.answer as Promise<T>;
    const answer = ask();
    asked.set(what, { at: now(), answer });
    answer.catch(() => asked.delete(what));
    return answer;
  };
  const subjects = (): Promise<readonly string[]> => kept('', () => registry.subjects());
  const read = new Map<number, RecordSchema<unknown>>();
  return {
    async types(topic) {
      const prefix = subjectOf(topic, '');
      return (await subjects()).filter((subject) => subject.startsWith(prefix)).map((subject) => subject.slice(prefix.length));
    },
    async newest(topic, type) {
      const subject = subjectOf(topic, type);
      // Only what exists is kept, so that names made up by callers take no room.
      if (!(await subjects()).includes(subject)) return undefined;
      const latest = (await kept(subject, () => registry.versions(subject))).at(-1);
      if (latest === undefined) return undefined;
      const { id, schema } = latest;
      if (typeof schema !== 'object' || !('type' in schema) || schema.type !== 'record')
        throw new SpoolError('SCHEMA_INVALID', `${subject} is no record: send the value in base64`);
      const known = read.get(id) ?? { fullName: type, schema: schema as RecordDefinition };
      read.set(id, known);
      return known;
    },
  };
}
