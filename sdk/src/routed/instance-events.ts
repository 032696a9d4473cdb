import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Instance } from '@spool/streams';
import { createEvents, type Events, type EventsOptions } from './events.js';
import { kafkaEvents } from './kafka.js';

export interface InstanceEventsOptions extends Pick<EventsOptions, 'serializers'> {
  /** The first word of every routing: of the application. */
  readonly root: string;
  /** Of the emitter, such as `gateway`. @default the bundle */
  readonly kind?: string;
}

/** The events of a running bundle over its Kafka; they end with `close`, before the instance. */
export const instanceEvents = (instance: Instance, { root, kind, ...rest }: InstanceEventsOptions): Events =>
  createEvents({
    ...rest,
    // A host's name may have dots, and a word has none.
    emitter: { host: hostname().replaceAll('.', '-'), kind: kind ?? instance.bundle, id: instance.id },
    transport: () => kafkaEvents({ ...instance, root }),
    log: instance.log,
    now: instance.now,
    newId: randomUUID,
  });
