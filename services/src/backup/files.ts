import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { containerDecoder, containerEncoder, SpoolError, type AvroSchema } from '@spool/schemas';
import type { TopicPartition } from '@spool/streams';

/** A record as a file has it. */
export interface SavedRecord {
  /** In the log that it was read from. */
  readonly offset: number;
  /** Milliseconds since the epoch. */
  readonly timestamp: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, Buffer>>;
}

const schema: AvroSchema = {
  type: 'record',
  name: 'SavedRecord',
  namespace: 'spool',
  doc: 'A record of a topic, in the file of its partition.',
  fields: [
    { name: 'offset', type: 'long', doc: 'In the log that it was read from.' },
    { name: 'timestamp', type: { type: 'long', logicalType: 'timestamp-millis' }, doc: 'Milliseconds since the epoch.' },
    { name: 'key', type: ['null', 'bytes'] },
    { name: 'value', type: ['null', 'bytes'] },
    { name: 'headers', type: { type: 'map', values: 'bytes' } },
  ],
};

/** A topic's name and a partition make a file name as they are. */
export const fileOf = (folder: string, { topic, partition }: TopicPartition): string => join(folder, `${topic}-${partition}.avro`);

/** Writes an Avro container file, durably. @returns how many records it has, and its SHA-256 */
export async function writeRecords(path: string, records: AsyncIterable<SavedRecord>): Promise<{ records: number; sha256: string }> {
  const hash = createHash('sha256');
  let count = 0;
  await pipeline(
    async function* () {
      for await (const record of records) {
        count++;
        yield record;
      }
    },
    containerEncoder(schema),
    async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(path, { flags: 'wx', flush: true }),
  );
  return { records: count, sha256: hash.digest('hex') };
}

/** The records of a file, in order. @throws SpoolError BACKUP_DAMAGED */
export async function* readRecords(path: string): AsyncGenerator<SavedRecord> {
  const decoder = containerDecoder();
  const reading = pipeline(createReadStream(path), decoder);
  // It shows at the end of the loop.
  reading.catch(() => undefined);
  try {
    for await (const record of decoder) yield record as SavedRecord;
    await reading;
  } catch (cause) {
    throw new SpoolError('BACKUP_DAMAGED', `${path}: ${(cause as Error).message}`, { cause });
  }
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
