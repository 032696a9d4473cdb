/**
 * The records of the `_schemas` topic, byte for byte as Confluent's Schema Registry writes them, so that either can run on a topic of the
 * other (one after the other, not at once). Keys are compacted by their bytes: the order of their attributes is part of the format.
 * A Confluent registry must read it with `kafkastore.isolation.level=read_committed`, since the writes here are transactions.
 */
import { z } from 'zod';

export interface SchemaReference {
  /** The name by which the schema refers to the type. */
  readonly name: string;
  readonly subject: string;
  readonly version: number;
}
/** The value under a SCHEMA key. What a newer writer put beside it (`metadata`, `ruleSet`, `guid`) is kept. */
export interface SchemaValue {
  readonly subject: string;
  readonly version: number;
  readonly id: number;
  /** `undefined` for AVRO. */
  readonly schemaType?: string | undefined;
  readonly references?: readonly SchemaReference[] | undefined;
  readonly schema: string;
  readonly deleted: boolean;
}
export interface ConfigValue {
  readonly compatibilityLevel?: string | undefined;
  readonly normalize?: boolean | undefined;
}

/** A change to the registry. `subject: null` is the whole registry; a value of null takes the entry away. */
export type Change =
  | { readonly type: 'SCHEMA'; readonly subject: string; readonly version: number; readonly value: SchemaValue | null }
  | { readonly type: 'CONFIG'; readonly subject: string | null; readonly value: ConfigValue | null }
  | { readonly type: 'MODE'; readonly subject: string | null; readonly value: { readonly mode: string } | null }
  /** All versions up to `version` are soft-deleted. */
  | { readonly type: 'DELETE_SUBJECT'; readonly subject: string; readonly version: number }
  /** A marker. Confluent ignores its value; ours carries the highest id ever given, which outlives the compaction of tombstones. */
  | { readonly type: 'NOOP'; readonly maxId: number };

/** A record that is not understood, with the reason; it is left alone. */
export interface Unreadable {
  readonly type: 'UNREADABLE';
  readonly reason: string;
}

/** Subjects of other contexts (`:.name:subject`) count their ids apart; this registry has the default context alone. */
const subject = z
  .string()
  .min(1)
  .refine((name) => !name.startsWith(':.'));
const whole = z.int().min(0);
const key = z.discriminatedUnion('keytype', [
  z.object({ keytype: z.literal('SCHEMA'), subject, version: whole, magic: z.literal([0, 1]) }),
  z.object({ keytype: z.literal('CONFIG'), subject: subject.nullish() }),
  z.object({ keytype: z.literal('MODE'), subject: subject.nullish() }),
  z.object({ keytype: z.literal('DELETE_SUBJECT'), subject }),
  z.object({ keytype: z.literal('NOOP') }),
]);
/** Writers leave a setting out or write null; both are `undefined` here. */
const optional = <T extends z.ZodType>(type: T) => type.nullish().transform((value) => value ?? undefined);
const reference = z.object({ name: z.string(), subject, version: z.int() });
const schemaValue = z.looseObject({
  subject,
  version: whole,
  id: whole,
  schemaType: z
    .string()
    .nullish()
    .transform((type) => (type === null || type === 'AVRO' ? undefined : type)),
  references: optional(z.array(reference)),
  schema: z.string(),
  deleted: z.boolean().default(false),
});
const configValue = z.looseObject({
  compatibilityLevel: optional(z.string()),
  normalize: optional(z.boolean()),
});
const modeValue = z.looseObject({ mode: z.string() });
const deleteValue = z.looseObject({ version: whole });

/** Never throws: other writers may know more kinds of record. */
export function decodeRecord(keyBytes: Buffer | null, valueBytes: Buffer | null): Change | Unreadable {
  const parsedKey = key.safeParse(json(keyBytes));
  if (!parsedKey.success) return unreadable('the key is of an unknown kind');
  const value = json(valueBytes);
  const at = parsedKey.data;
  switch (at.keytype) {
    case 'SCHEMA':
      return withValue(value, schemaValue, (parsed) => ({ type: 'SCHEMA', subject: at.subject, version: at.version, value: parsed }));
    case 'CONFIG':
      return withValue(value, configValue, (parsed) => ({ type: 'CONFIG', subject: at.subject ?? null, value: parsed }));
    case 'MODE':
      return withValue(value, modeValue, (parsed) => ({ type: 'MODE', subject: at.subject ?? null, value: parsed }));
    case 'DELETE_SUBJECT':
      return withValue(value, deleteValue, (parsed) => ({ type: 'DELETE_SUBJECT', subject: at.subject, version: parsed?.version ?? 0 }));
    case 'NOOP': {
      const marker = z.object({ maxId: whole }).safeParse(value);
      return { type: 'NOOP', maxId: marker.success ? marker.data.maxId : 0 };
    }
  }
}

function withValue<T>(value: unknown, type: z.ZodType<T>, change: (parsed: T | null) => Change): Change | Unreadable {
  if (value === null) return change(null);
  const parsed = type.safeParse(value);
  return parsed.success ? change(parsed.data) : unreadable('the value does not have the form that its key promises');
}

const unreadable = (reason: string): Unreadable => ({ type: 'UNREADABLE', reason });

/** `null` for null, `undefined` for what is not JSON. */
function json(bytes: Buffer | null): unknown {
  if (bytes === null) return null;
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

export interface EncodedRecord {
  readonly key: string;
  readonly value: Buffer | null;
}

export function encodeChange(change: Change): EncodedRecord {
  switch (change.type) {
    case 'SCHEMA':
      return record({ keytype: 'SCHEMA', subject: change.subject, version: change.version, magic: 1 }, ordered(change.value));
    case 'CONFIG':
      return record({ keytype: 'CONFIG', subject: change.subject, magic: 0 }, change.value && { subject: change.subject, ...change.value });
    case 'MODE':
      return record({ keytype: 'MODE', subject: change.subject, magic: 0 }, change.value && { subject: change.subject, ...change.value });
    case 'DELETE_SUBJECT':
      return record({ keytype: 'DELETE_SUBJECT', subject: change.subject, magic: 0 }, { subject: change.subject, version: change.version });
    case 'NOOP':
      return record({ keytype: 'NOOP', magic: 0 }, { maxId: change.maxId });
  }
}

function ordered(value: SchemaValue | null): object | null {
  if (value === null) return null;
  const { subject: name, version, id, schemaType, references, schema, deleted, ...rest } = value;
  return {
    subject: name,
    version,
    id,
    schemaType,
    references: references?.length === 0 ? undefined : references,
    ...rest,
    schema,
    deleted,
  };
}

const record = (keyJson: object, value: object | null): EncodedRecord => ({
  key: JSON.stringify(keyJson),
  value: value === null ? null : Buffer.from(JSON.stringify(value)),
});
