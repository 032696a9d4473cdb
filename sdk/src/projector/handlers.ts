import type { ConsumedRecord, GroupContext, LocalContext } from '@spool/streams';
import { eventContext, eventReader, type ReadEvent } from '../event/reader.js';
import { declaredQueries, type QueryAsker } from '../gateway/declared.js';
import type { QueryGateway } from '../gateway/messages.js';
import { caused, handled, type Hosting } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import type { Projector, ProjectorContext } from './projector.js';

/** The handlers of a projector over records, as the engine calls them. */
export interface ProjectorWork {
  readonly handle: (record: ConsumedRecord, context: LocalContext) => void | Promise<void>;
  /** Only where it takes batches. */
  readonly handleGroup?: (records: readonly ConsumedRecord[], context: GroupContext) => void | Promise<void>;
  /** Tells of what was handled since the last commit. */
  committed(): void;
}

interface Taken {
  readonly record: ConsumedRecord;
  readonly event: ReadEvent;
  readonly replayId: string | undefined;
}
interface Timed {
  readonly event: ReadEvent;
  readonly handleUs: number;
}

export interface ProjectorWorkOptions {
  readonly hosting: Hosting;
  readonly projector: Projector;
  /** The context whose events it handles. */
  readonly bound: string;
  /** That its questions go through. */
  readonly gateway: Pick<QueryGateway, 'ask'>;
  /** What its handlers write to. */
  readonly tables: (context: GroupContext) => unknown;
  /** The replay for which this copy is kept; undefined of the one that answers. To a copy that does not, every event is replayed. */
  readonly silentFor: () => string | undefined;
}

export function projectorWork({ hosting, projector, bound, gateway, tables, silentFor }: ProjectorWorkOptions): ProjectorWork {
  const { instance, bundle } = hosting;
  const { name: component, handlers, onBatch, asks } = projector;
  const read = eventReader(projector.of, instance.codec, instance.topics, { unknown: projector.unknown, bound });
  /** By record: one that is handled again, after a group that failed, counts once. */
  const timings = new Map<ConsumedRecord, Timed>();
  const nothing = declaredQueries(gateway, component, asks, (asked) => asked);

  const queriesFor = (event: ReadEvent): QueryAsker<never> =>
    asks.length === 0 ? nothing : declaredQueries(gateway, component, asks, (asked) => caused(event.meta, asked));
  const contextOf = ({ event, replayId }: Taken): ProjectorContext =>
    Object.assign(eventContext(event, replayId), { queries: queriesFor(event) });
  const messageOf = ({ event: { type, data, meta } }: Taken) =>
    ({ component, kind: 'projector', messageKind: 'event', type, payload: data, meta }) as const;
  const wanted = (event: ReadEvent | undefined): event is ReadEvent =>
    event?.data !== undefined && (onBatch !== undefined || handlers[event.type] !== undefined);

  /** A replay handles what has its span already; it shows in the progress of the replay instead. */
  const timed = ({ record, event, replayId }: Taken, handleUs: number): void => {
    if (replayId === undefined) timings.set(record, { event, handleUs });
  };

  const one = (record: ConsumedRecord, context: LocalContext): void | Promise<void> => {
    const began = performance.now();
    const apply = (event: ReadEvent | undefined): void | Promise<void> => {
      if (!wanted(event)) return undefined;
      const taken = { record, event, replayId: context.replayId ?? silentFor() };
      const done = (): void => timed(taken, microsSince(began));
      const handler = handlers[event.type]!;
      const pending = handled<unknown>(hosting, messageOf(taken), () =>
        handler(...([event.data, tables(context), contextOf(taken)] as never[])),
      );
      return pending instanceof Promise ? pending.then(done) : done();
    };
    const event = read(record);
    return event instanceof Promise ? event.then(apply) : apply(event);
  };

  const batch = async (handler: NonNullable<typeof onBatch>, records: readonly ConsumedRecord[], context: GroupContext): Promise<void> => {
    const taken: Taken[] = [];
    for (const record of records) {
      const pending = read(record);
      const event = pending instanceof Promise ? await pending : pending;
      if (wanted(event)) taken.push({ record, event, replayId: context.replayOf(record) ?? silentFor() });
    }
    if (taken.length === 0) return;
    const began = performance.now();
    const events = taken.map((each) => {
      const { source, type, data } = each.event;
      return { source, type, data, context: contextOf(each) };
    });
    const handle = (): unknown => handler(...([events, tables(context)] as never[]));
    /** Interceptors see each event of it. A turn of the loop for each, as the stack has an end. */
    const around = (index: number): unknown => {
      const next = taken[index];
      return next === undefined
        ? handle()
        : handled<unknown>(hosting, messageOf(next), async () => around(await Promise.resolve(index + 1)));
    };
    await (bundle.interceptors.length === 0 ? handle() : around(0));
    const handleUs = Math.round(microsSince(began) / taken.length);
    for (const each of taken) timed(each, handleUs);
  };

  return {
    handle: onBatch === undefined ? one : (record, context) => batch(onBatch, [record], context),
    ...(onBatch === undefined ? {} : { handleGroup: (records, context) => batch(onBatch, records, context) }),
    committed() {
      for (const [record, { event, handleUs }] of timings) {
        const { type, meta } = event;
        const told = { component, componentKind: 'projector', messageKind: 'event', type, record, meta, handleUs } as const;
        emitSpan(instance, { ...told, commitUs: 0, outcome: null, errorClass: null, replayId: null });
      }
      timings.clear();
    },
  };
}
