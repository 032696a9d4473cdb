import { readMeta, SpoolError, toSpoolError, type Codec, type Decoder, type ReadMeta } from '@spool/schemas';
import { isTransient, standsAt, type ConsumedRecord, type TopicCatalogue } from '@spool/streams';
import { inContext } from '../context/context.js';
import type { EventSource } from '../messages.js';
import type { EventContext } from '../projector/projector.js';
import type { UnknownEvents } from './unknown.js';

export interface ReadEvent {
  /** The aggregate or service that it is of. */
  readonly source: string;
  readonly type: string;
  /** The key of the record: of a service's event, its lock or the id of its command. */
  readonly aggregateId: string;
  readonly version: number;
  readonly at: number;
  readonly data: unknown;
  readonly meta: ReadMeta;
}

export interface EventReaderOptions extends UnknownEvents {
  /** Events of others are undefined. @default all are read */
  readonly bound?: string;
}

interface SourceReader {
  readonly name: string;
  readonly decoders: ReadonlyMap<string, Decoder<unknown>>;
  readonly typeOfName: ReadonlyMap<string, string>;
}
type MaybeLater<T> = T | Promise<T>;

/**
 * Decodes events of the sources by the schemas of this version of the code, and by the upcasters of the codec, under the name that they have now; an event of a type that
 * its source does not declare has no data, if it is passed over. The topic of a record tells its source, so that two of them may have events of the same name.
 */
export function eventReader(
  sources: EventSource | readonly EventSource[],
  codec: Codec,
  topics: Pick<TopicCatalogue, 'events'>,
  { unknown, bound }: EventReaderOptions = {},
): (record: ConsumedRecord) => MaybeLater<ReadEvent | undefined> {
  const readers = new Map<string, SourceReader>();
  for (const { name, events } of [sources].flat()) {
    const declared = Object.entries(events);
    readers.set(topics.events(name).name, {
      name,
      decoders: new Map(declared.map(([type, schema]) => [type, codec.decoder(schema)])),
      typeOfName: new Map(declared.map(([type, schema]) => [schema.fullName, type])),
    });
  }
  /** It may have had another name when it was written. */
  const currentType = (type: string, { decoders, typeOfName }: SourceReader, value: Buffer): MaybeLater<string> => {
    if (decoders.has(type) || codec.currentName === undefined) return type;
    const nameless = (thrown: unknown): string => {
      if (unknown !== 'skip' || isTransient(thrown)) throw thrown;
      return type;
    };
    try {
      const name = codec.currentName(value);
      const typeOf = (found: string): string => typeOfName.get(found) ?? type;
      return name instanceof Promise ? name.then(typeOf, nameless) : typeOf(name);
    } catch (thrown) {
      return nameless(thrown);
    }
  };
  const read = (record: ConsumedRecord, meta: ReadMeta, key: Buffer, value: Buffer): MaybeLater<ReadEvent> => {
    const { type: written, aggregateVersion: version } = meta;
    if (written === undefined || version === undefined) {
      throw new SpoolError('RECORD_UNREADABLE', `${place(record)} is not an event: ce_type and aggregateversion are missing`);
    }
    const reader = readers.get(record.topic);
    const source = reader?.name ?? '';
    const aggregateId = key.toString();
    const at = meta.time ?? record.timestamp;
    const readAs = (type: string): MaybeLater<ReadEvent> => {
      const decoder = reader?.decoders.get(type);
      if (decoder === undefined && (unknown === 'park' || unknown === 'fail')) {
        throw new SpoolError('EVENT_UNKNOWN', `${type} is not among the events of ${source}`);
      }
      const data = decoder?.decode(value);
      const event = (decoded: unknown): ReadEvent => ({ source, type, aggregateId, version, at, data: decoded, meta });
      return data instanceof Promise ? data.then(event) : event(data);
    };
    const type = reader === undefined ? written : currentType(written, reader, value);
    return type instanceof Promise ? type.then(readAs) : readAs(type);
  };
  return (record) => {
    if (record.value === null || record.key === null) return undefined;
    const meta = readMeta(record.headers);
    if (bound !== undefined && !inContext(bound, meta)) return undefined;
    const held = (thrown: unknown): never => {
      if (unknown !== 'fail' || isTransient(thrown)) throw thrown;
      throw standsAt(record, toSpoolError(thrown).message, thrown);
    };
    try {
      const event = read(record, meta, record.key, record.value);
      return event instanceof Promise ? event.catch(held) : event;
    } catch (thrown) {
      return held(thrown);
    }
  };
}

const place = ({ topic, partition, offset }: ConsumedRecord): string => `${topic}-${partition}@${offset}`;

/** What a handler is told of an event. */
export const eventContext = (event: ReadEvent, replayId?: string): EventContext => ({
  source: event.source,
  eventId: event.meta.id ?? '',
  aggregateId: event.aggregateId,
  version: event.version,
  at: event.at,
  replayId,
  correlationId: event.meta.correlationId,
});
