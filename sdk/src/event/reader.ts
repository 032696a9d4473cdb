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

/** Decodes events of the sources by the schemas of this version of the code; an event of a type that they do not declare has no data. */
export function eventReader(
  sources: EventSource | readonly EventSource[],
  codec: Codec,
): (record: ConsumedRecord) => ReadEvent | undefined | Promise<ReadEvent | undefined> {
  const decoders = new Map<string, Decoder<unknown>>();
  for (const { events } of [sources].flat()) for (const [type, schema] of Object.entries(events)) decoders.set(type, codec.decoder(schema));
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
    const decoder = decoders.get(type);
    const aggregateId = record.key.toString();
    const at = meta.time ?? record.timestamp;
    const data = decoder?.decode(record.value);
    const event = (value: unknown): ReadEvent => ({ type, aggregateId, version, at, data: value, meta });
    return data instanceof Promise ? data.then(event) : event(data);
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
