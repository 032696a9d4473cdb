import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Instance } from '@spool/streams';
import { createEvents, type Events, type EventsOptions } from './events.js';
import { kafkaEvents } from './kafka.js';

export interface EventsOfInstance extends Pick<EventsOptions, 'serializers'> {
  /** Of the emitter, such as `gateway`. @default the bundle */
  readonly kind?: string;
}
export interface InstanceEventsOptions extends EventsOfInstance {
  /** The first word of every routing: of the application. */
  readonly root: string;
}

/** The events of a running bundle over its Kafka; they end with `close`, before the instance. */
export const instanceEvents = (instance: Instance, { root, ...rest }: InstanceEventsOptions): Events =>
  eventsOver(instance, () => kafkaEvents({ ...instance, root }), rest);

/** The events of a running bundle, whatever carries them. */
export const eventsOver = (
  instance: Pick<Instance, 'id' | 'bundle' | 'log' | 'now'>,
  transport: NonNullable<EventsOptions['transport']>,
  { kind, ...rest }: EventsOfInstance,
): Events =>
  createEvents({
    ...rest,
    // A host's name may have dots, and a word has none.
    emitter: { host: hostname().replaceAll('.', '-'), kind: kind ?? instance.bundle, id: instance.id },
    transport,
    log: instance.log,
    now: instance.now,
    newId: randomUUID,
  });
