import { readMeta, SpoolError, type Codec, type Decoder, type ReadMeta } from '@spool/schemas';
import type { ConsumedRecord, TopicCatalogue } from '@spool/streams';
import type { EventSource } from '../messages.js';
import type { EventContext } from '../projector/projector.js';

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

interface SourceReader {
  readonly name: string;
  readonly decoders: ReadonlyMap<string, Decoder<unknown>>;
  readonly typeOfName: ReadonlyMap<string, string>;
}

/**
 * Decodes events of the sources by the schemas of this version of the code, and by the upcasters of the codec, under the name that they have now; an event of a type that
 * its source does not declare has no data. The topic of a record tells its source, so that two of them may have events of the same name.
 */
export function eventReader(
  sources: EventSource | readonly EventSource[],
  codec: Codec,
  topics: Pick<TopicCatalogue, 'events'>,
): (record: ConsumedRecord) => ReadEvent | undefined | Promise<ReadEvent | undefined> {
  const readers = new Map<string, SourceReader>();
  for (const { name, events } of [sources].flat()) {
    const declared = Object.entries(events);
    readers.set(topics.events(name).name, {
      name,
      decoders: new Map(declared.map(([type, schema]) => [type, codec.decoder(schema)])),
      typeOfName: new Map(declared.map(([type, schema]) => [schema.fullName, type])),
    });
  }
  return (record) => {
    if (record.value === null || record.key === null) return undefined;
    const meta = readMeta(record.headers);
    const { type, aggregateVersion: version } = meta;
    if (type === undefined || version === undefined) {
      throw new SpoolError(
        'RECORD_UNREADABLE',
        `${record.topic}-${record.partition}@${record.offset} is not an event: ce_type and aggregateversion are missing`,
      );
    }
    const { value } = record;
    const reader = readers.get(record.topic);
    const aggregateId = record.key.toString();
    const at = meta.time ?? record.timestamp;
    const readAs = (current: string): ReadEvent | Promise<ReadEvent> => {
      const data = reader?.decoders.get(current)?.decode(value);
      const event = (read: unknown): ReadEvent => ({
        source: reader?.name ?? '',
        type: current,
        aggregateId,
        version,
        at,
        data: read,
        meta,
      });
      return data instanceof Promise ? data.then(event) : event(data);
    };
    if (reader === undefined || reader.decoders.has(type) || codec.currentName === undefined) return readAs(type);
    // It may have had another name when it was written.
    const name = codec.currentName(value);
    const renamed = (current: string): ReadEvent | Promise<ReadEvent> => readAs(reader.typeOfName.get(current) ?? type);
    return name instanceof Promise ? name.then(renamed) : renamed(name);
  };
}

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
