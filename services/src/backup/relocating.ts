import {
  createCodec,
  headerNames,
  SpoolError,
  type AvroSchema,
  type Encoder,
  type RecordSchema,
  type SchemaRegistry,
} from '@spool/schemas';
import { outcomePrefix } from '@spool/sdk';
import { engineKey, offset, partitionKey, relocatedLetter, relocatedParked, type Relocate, type TopicPartition } from '@spool/streams';
import { fileOf, readRecords, type SavedRecord } from './files.js';
import type { Manifest, SavedTopic } from './manifest.js';
import { isCompacted } from './topics.js';
import { savedPartitions } from './verify.js';

/** How the records of a back-up are written to a log where they have other offsets. */
export interface Relocating {
  readonly relocate: Relocate;
  /** One record for each record: the place of a record in its file is its offset in the new log. */
  rewrite(topic: SavedTopic, partition: number, record: SavedRecord): SavedRecord | Promise<SavedRecord>;
}

type Rewrite = Relocating['rewrite'];

/**
 * Reads a back-up for all that names a place of the log, and where these places are in the files.
 * @param schemas asked for what the back-up's own `_schemas` does not have
 * @throws SpoolError SCHEMA_UNKNOWN when a checkpoint cannot be read
 */
export async function openRelocating(folder: string, manifest: Manifest, schemas?: SchemaRegistry): Promise<Relocating> {
  const registry = await savedSchemas(folder, manifest, schemas);
  // 1. What is named: checkpoints, dead letters and what is known of them, positions of groups.
  const wanted = new Map<string, Set<number>>(savedPartitions(manifest).map((at) => [partitionKey(at), new Set()]));
  const note: Relocate = (at) => {
    wanted.get(partitionKey(at))?.add(Number(at.offset));
    return at.offset;
  };
  for (const { offsets } of manifest.groups) for (const at of offsets) note({ ...at, offset: offset(at.offset) });
  const noting = rewriter(manifest.namespace, registry, note);
  for (const topic of manifest.topics) {
    if (!isCompacted(topic.config) && !isDeadLetters(manifest.namespace, topic.name)) continue;
    for (const partition of topic.partitions.keys()) {
      for await (const record of readRecords(fileOf(folder, { topic: topic.name, partition }))) await noting(topic, partition, record);
    }
  }
  // 2. Where that is: as many records come before it.
  const places = new Map<string, ReadonlyMap<number, number>>();
  for (const at of savedPartitions(manifest)) {
    const key = partitionKey(at);
    places.set(key, await placesIn(fileOf(folder, at), wanted.get(key)!));
  }
  const relocate: Relocate = (at) => {
    const place = places.get(partitionKey(at))?.get(Number(at.offset));
    return place === undefined ? undefined : offset(place);
  };
  return { relocate, rewrite: rewriter(manifest.namespace, registry, relocate) };
}

async function placesIn(path: string, wanted: ReadonlySet<number>): Promise<ReadonlyMap<number, number>> {
  const places = new Map<number, number>();
  const open = [...wanted].sort((a, b) => b - a);
  let count = 0;
  if (open.length > 0) {
    for await (const record of readRecords(path)) {
      while (open.length > 0 && open.at(-1)! <= record.offset) places.set(open.pop()!, count);
      if (open.length === 0) return places;
      count++;
    }
  }
  for (const at of open) places.set(at, count);
  return places;
}

const isDeadLetters = (namespace: string, topic: string): boolean => topic.startsWith(`${namespace}dlq.`);

function rewriter(namespace: string, registry: SchemaRegistry, relocate: Relocate): Rewrite {
  const codec = createCodec({ registry });
  const encoders = new Map<number, Promise<Encoder<Record<string, unknown>>>>();
  /** Undefined for what is no checkpoint. */
  const checkpoint = async (value: Buffer): Promise<Buffer | undefined> => {
    const { type, schemaId, schema, value: read } = await codec.decodeAny(value);
    if (type !== 'spool.TaskCheckpoint') return undefined;
    const was = read as Record<string, unknown> & { readonly inputs: readonly (TopicPartition & { readonly offset: number })[] };
    const inputs = was.inputs.flatMap(({ topic, partition, offset: at }) => {
      const to = relocate({ topic, partition, offset: offset(at) });
      return to === undefined ? [] : [{ topic, partition, offset: Number(to) }];
    });
    const made = encoders.get(schemaId) ?? codec.encoder('', { fullName: type, schema } as RecordSchema<Record<string, unknown>>);
    encoders.set(schemaId, made);
    // Nobody owns it; it covers nothing and has seen no order, since there are none.
    const now = { owner: '', covered: null, epoch: -1 };
    const known = Object.fromEntries(Object.entries(now).filter(([name]) => name in was));
    return (await made).encode({ ...was, ...known, inputs });
  };
  const journal = (topic: SavedTopic, key: string, record: SavedRecord): SavedRecord | Promise<SavedRecord> => {
    // The groups of the new log would give theirs the same names, and take them away with their own.
    if (topic.name.startsWith(`${namespace}snap.`) && key.startsWith(outcomePrefix)) {
      return { ...record, key: Buffer.from(`${outcomePrefix}~${key.slice(outcomePrefix.length)}`) };
    }
    const { value } = record;
    const kind = value === null ? undefined : engineKey(key);
    if (value === null || kind === undefined) return record;
    if (kind === 'parked') return { ...record, value: relocatedParked(value, relocate) };
    return checkpoint(value).then((moved) => (moved === undefined ? record : { ...record, value: kind === 'claim' ? null : moved }));
  };
  return (topic, partition, record) => {
    let { headers } = record;
    // Members of the new groups count from 1, and no writer is older than the one before it.
    if (headers[headerNames.writerEpoch] !== undefined) headers = { ...headers, [headerNames.writerEpoch]: Buffer.from('0') };
    if (isDeadLetters(namespace, topic.name)) headers = relocatedLetter({ topic: topic.name, partition }, headers, relocate);
    const moved = headers === record.headers ? record : { ...record, headers };
    return isCompacted(topic.config) && record.key !== null ? journal(topic, record.key.toString(), moved) : moved;
  };
}

/** The schemas of a back-up, by their ids; a schema is written with the id that it was read by. */
async function savedSchemas(folder: string, manifest: Manifest, others: SchemaRegistry | undefined): Promise<SchemaRegistry> {
  const texts = new Map<number, string>();
  const ids = new Map<AvroSchema, number>();
  for (const at of savedPartitions(manifest).filter(({ topic }) => topic.endsWith('_schemas'))) {
    for await (const { value } of readRecords(fileOf(folder, at))) {
      const { id, schema } = (value === null ? {} : JSON.parse(value.toString())) as { id?: number; schema?: string };
      if (id !== undefined && schema !== undefined) texts.set(id, schema);
    }
  }
  const notHere = (): never => {
    throw new SpoolError('INTERNAL', 'a back-up registers no schema');
  };
  return {
    async schemaById(id: number): Promise<AvroSchema> {
      const text = texts.get(id);
      if (text === undefined && others === undefined)
        throw new SpoolError('SCHEMA_UNKNOWN', `no schema in the back-up has the id ${id}: name the registry by SCHEMA_REGISTRY_URL`);
      const schema = text === undefined ? await others!.schemaById(id) : (JSON.parse(text) as AvroSchema);
      ids.set(schema, id);
      return schema;
    },
    register: (_: string, schema: AvroSchema): Promise<number> => Promise.resolve(ids.get(schema)!),
    subjects: notHere,
    versions: notHere,
  };
}
