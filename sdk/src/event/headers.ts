import { messageHeaders, type ReadMeta } from '@spool/schemas';
import type { Hosting } from '../host/hosting.js';

export interface Caused {
  readonly hosting: Hosting;
  /** Who made it. */
  readonly component: string;
  readonly type: string;
  /** Of the record: the id of the aggregate, the lock of a service. */
  readonly key: string;
  readonly commandId: string;
  /** Of the command. */
  readonly meta: ReadMeta;
  /** Among the events of the command, from 0. */
  readonly index: number;
  readonly version: number;
  readonly generation: number;
  readonly at: number;
}

/** Headers of an event that a command has caused. */
export const headersOfEvent = ({
  hosting,
  component,
  type,
  key,
  commandId,
  meta,
  index,
  version,
  generation,
  at,
}: Caused): Record<string, string> =>
  messageHeaders({
    id: `${commandId}/${index}`,
    type,
    source: `${hosting.bundle.id}/${component}`,
    time: at,
    subject: key,
    correlationId: meta.correlationId ?? commandId,
    causationId: commandId,
    commandId,
    aggregateVersion: version,
    writerEpoch: generation,
    traceparent: meta.traceparent,
    actor: meta.actor,
    context: meta.context,
  });
