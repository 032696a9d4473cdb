import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Instance } from '@spool/streams';
import type { Bundle } from '../bundle/bundle.js';
import type { EventFirer, Events, FireOptions } from '../routed/events.js';
import { instanceEvents } from '../routed/instance-events.js';

/** The routed events of a bundle, with what it declares. Nothing is opened until one is fired or wanted. @throws SpoolError INVALID_CONFIG */
export function bundleEvents({ id, routed: { root = id, fires = {}, ...rest } = {} }: Bundle, instance: Instance): Events {
  const events = instanceEvents(instance, { ...rest, root });
  for (const [name, { routing, ...declaration }] of Object.entries(fires)) {
    try {
      events.declare(name, { ...declaration, ...(routing === undefined ? {} : { routing: { root, ...routing } }) });
    } catch (thrown) {
      throw new SpoolError('INVALID_CONFIG', `bundle ${id}, event ${name}: ${toSpoolError(thrown).message}`, { cause: thrown });
    }
  }
  return events;
}

/**
 * What one handler fires with. @param by begins the ids, so that they are the same when its message comes again; undefined: they are new
 * @param caused what they have from the message
 */
export function firer(events: Events, by: string | undefined, caused: Pick<FireOptions, 'correlationId' | 'causationId'>): EventFirer {
  let fired = 0;
  return {
    fire: (name, data, options) =>
      events.fire(name, data, { ...(by === undefined ? {} : { id: `${by}/fired/${fired++}` }), ...caused, ...options }),
  };
}
