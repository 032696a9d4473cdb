import { fromJson, isFramed, SpoolError, toSpoolError, type RecordSchema } from '@spool/schemas';
import {
  chosenLetters,
  indexLetters,
  readLetters,
  type Instance,
  type Letter,
  type LetterChoice,
  type LetterEntry,
  type TopicPartition,
} from '@spool/streams';
import { z } from 'zod';

export const deadLetterView = z.object({
  partition: z.int().describe('Of the dead-letter topic, and of the record'),
  offset: z.string().describe('In the dead-letter topic'),
  key: z.string().nullable(),
  source: z
    .object({ topic: z.string(), partition: z.int(), offset: z.string() })
    .nullable()
    .describe('Where the record came from; null for a timer'),
  timer: z.object({ name: z.string(), at: z.iso.datetime() }).nullable(),
  instance: z.string().nullable().describe('Whose it is, where every instance handles all records for itself'),
  code: z.string().describe('FOLLOWS_PARKED: an earlier record of its key is parked'),
  message: z.string(),
  parkedAt: z.iso.datetime(),
  recordedAt: z.iso.datetime(),
  headers: z.record(z.string(), z.string()),
  type: z.string().nullable().describe('Of the payload, where it has a schema'),
  payload: z.unknown().describe('As its schema has it; else null'),
  base64: z.string().nullable().describe('The bytes, where there is no schema to read them by'),
  resolution: z.string().nullable().describe('retried, discarded, or rebuilt with the store it belonged to; null while it is parked'),
});
export type DeadLetterView = z.infer<typeof deadLetterView>;

export const letterPlace = z.object({ partition: z.int(), offset: z.string() });
export type LetterPlace = z.infer<typeof letterPlace>;

export interface LetterPage {
  readonly items: readonly DeadLetterView[];
  /** Of the last item, when there are more. */
  readonly next: LetterPlace | undefined;
}

/** Which letters, in the words of a request. */
export interface LetterWish {
  readonly key?: string | undefined;
  readonly record?: { readonly topic: string; readonly partition: number; readonly offset: string } | undefined;
}

export interface DeadLetters {
  /** By partition, then in order. Each page reads the partitions that it touches from their beginning. */
  list(consumer: string, query: { after: LetterPlace | undefined; limit: number; resolved: boolean }): Promise<LetterPage>;
  /** The unresolved letters that are meant. @throws SpoolError NOT_FOUND when there are none, ORDER_REFUSED for a retry out of order */
  find(consumer: string, choice: LetterChoice, action: 'retry' | 'discard'): Promise<TopicPartition & LetterEntry>;
  /** The bytes of an edited value, by the schema that the letter was written with. @throws SpoolError INVALID_PAYLOAD, INVALID_REQUEST */
  encode(found: TopicPartition & LetterEntry, value: unknown): Promise<Buffer>;
}

export function openDeadLetters({ kafka, codec, topics }: Instance): DeadLetters {
  const partitionsOf = async (consumer: string): Promise<TopicPartition[]> => {
    const topic = topics.deadLetters(consumer).name;
    try {
      return (await kafka.admin.offsets(topic)).filter((at) => at.latest > at.earliest).map(({ partition }) => ({ topic, partition }));
    } catch (error) {
      // Nothing was ever parked.
      if (toSpoolError(error).code === 'UNKNOWN_TOPIC') return [];
      throw error;
    }
  };
  const view = async (letter: Letter): Promise<DeadLetterView> => {
    const { raw, source, timer, owner, resolution } = letter;
    const header = (name: string): string => raw.headers[name]?.toString() ?? '';
    const headers = Object.entries(raw.headers).filter(([name]) => !name.startsWith('dlq-'));
    const decoded = raw.value === null || !isFramed(raw.value) ? undefined : await json(raw.value);
    return {
      partition: raw.partition,
      offset: raw.offset.toString(),
      key: raw.key?.toString() ?? null,
      source: source === undefined ? null : { topic: source.topic, partition: source.partition, offset: source.offset.toString() },
      timer: timer === undefined ? null : { name: timer.name, at: new Date(timer.at).toISOString() },
      instance: owner ?? null,
      code: header('dlq-code'),
      message: header('dlq-message'),
      parkedAt: header('dlq-at'),
      recordedAt: new Date(letter.record?.timestamp ?? raw.timestamp).toISOString(),
      headers: Object.fromEntries(headers.map(([name, value]) => [name, value.toString()])),
      type: decoded?.type ?? null,
      payload: decoded?.payload ?? null,
      base64: decoded === undefined ? (raw.value?.toString('base64') ?? null) : null,
      resolution: resolution ?? null,
    };
  };
  const json = async (value: Buffer): Promise<{ type: string; payload: unknown } | undefined> => {
    try {
      const decoded = await codec.decodeAny(value);
      return { type: decoded.type, payload: decoded.json() };
    } catch (error) {
      // Bytes that cannot be read are shown as they are; a registry that is away is another matter.
      if (toSpoolError(error).entry.retryable === 'backoff') throw error;
      return undefined;
    }
  };
  return {
    async list(consumer, { after, limit, resolved }) {
      const items: DeadLetterView[] = [];
      const wanted = limit + 1;
      for (const partition of await partitionsOf(consumer)) {
        if (after !== undefined && partition.partition < after.partition) continue;
        const from = partition.partition === after?.partition ? BigInt(after.offset) : -1n;
        const entries = (await indexLetters({ kafka, partition, owner: 'any', resolved })).filter((entry) => entry.offset > from);
        const letters = await readLetters(kafka, partition, entries.slice(0, wanted - items.length));
        for (const letter of letters) items.push(await view(letter));
        if (items.length >= wanted) break;
      }
      const last = items[limit - 1];
      const next = items.length <= limit || last === undefined ? undefined : { partition: last.partition, offset: last.offset };
      return { items: items.slice(0, limit), next };
    },
    async find(consumer, choice, action) {
      for (const partition of await partitionsOf(consumer)) {
        const [first] = chosenLetters(await indexLetters({ kafka, partition, owner: 'any' }), partition, choice, action);
        if (first !== undefined) return { ...partition, ...first };
      }
      throw new SpoolError('NOT_FOUND', `${consumer} has no such record parked`);
    },
    async encode(found, value) {
      const [letter] = await readLetters(kafka, found, [found]);
      const written = letter?.record?.value;
      const notEditable = (why: string): SpoolError =>
        new SpoolError('INVALID_REQUEST', why, { violations: [{ pointer: '/value', message: why }] });
      if (letter?.record === undefined) throw notEditable('a timer has no value');
      if (typeof value === 'object' && value !== null && 'base64' in value && typeof value.base64 === 'string') {
        return Buffer.from(value.base64, 'base64');
      }
      if (written === null || written === undefined || !isFramed(written)) {
        throw notEditable('the record has no schema: give the bytes as {"base64": "..."}');
      }
      const { type, schema } = await codec.decodeAny(written);
      const record = { fullName: type, schema } as RecordSchema<unknown>;
      return (await codec.encoder(letter.record.topic, record)).encode(fromJson(record, value));
    },
  };
}
