import { readMeta, SpoolError, type Codec, type Decoder, type ReadMeta } from '@spool/schemas';
import type { ConsumedRecord } from '@spool/streams';
import type { EventSource } from '../messages.js';
import type { EventContext } from '../projector/projector.js';

export interface ReadEvent {
  readonly type: string;
  /** The key of the record: of a service's event, its lock or the id of its command. */
  readonly aggregateId: string;
  readonly version: number;
  readonly at: number;
  readonly data: unknown;
  readonly meta: ReadMeta;
}

/**
 * Decodes events of the sources by the schemas of this version of the code, and by the upcasters of the codec, under the name that they have now; an event of a type that
 * they do not declare has no data.
 */
export function eventReader(
  sources: EventSource | readonly EventSource[],
  codec: Codec,
): (record: ConsumedRecord) => ReadEvent | undefined | Promise<ReadEvent | undefined> {
  const decoders = new Map<string, Decoder<unknown>>();
  const typeOfName = new Map<string, string>();
  for (const { events } of [sources].flat()) {
    for (const [type, schema] of Object.entries(events)) {
      decoders.set(type, codec.decoder(schema));
      typeOfName.set(schema.fullName, type);
    }
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
    const aggregateId = record.key.toString();
    const at = meta.time ?? record.timestamp;
    const readAs = (current: string): ReadEvent | Promise<ReadEvent> => {
      const data = decoders.get(current)?.decode(value);
      const event = (read: unknown): ReadEvent => ({ type: current, aggregateId, version, at, data: read, meta });
      return data instanceof Promise ? data.then(event) : event(data);
    };
    if (decoders.has(type) || codec.currentName === undefined) return readAs(type);
    // It may have had another name when it was written.
    const name = codec.currentName(value);
    const renamed = (current: string): ReadEvent | Promise<ReadEvent> => readAs(typeOfName.get(current) ?? type);
    return name instanceof Promise ? name.then(renamed) : renamed(name);
  };
}

/** What a handler is told of an event. */
export const eventContext = (event: ReadEvent, replayId?: string): EventContext => ({
  eventId: event.meta.id ?? '',
  aggregateId: event.aggregateId,
  version: event.version,
  at: event.at,
  replayId,
  correlationId: event.meta.correlationId,
});
