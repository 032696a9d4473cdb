import { randomUUID } from 'node:crypto';
import { FoldReplySchema, FoldRequestSchema, SpoolError, type FoldReply, type FoldRequest } from '@spool/schemas';
import { foldQuery, refusal, type Gateway } from '@spool/sdk';
import type { Instance } from '@spool/streams';
import { rowKey, statesTable, versionOf, type FoldedRow } from './index-rows.js';
import { spacing, type EventIndex } from './indexer.js';
import { rowAt, rowsOf } from './streams.js';

export interface Folded {
  readonly version: number;
  /** JSON. */
  readonly state: string;
  /** The last event ended the aggregate. */
  readonly deleted: boolean;
}

export type AskFold = (request: FoldRequest, deadline: number) => Promise<FoldReply>;

/** Asks an instance of the aggregate's bundle to fold. @throws SpoolError INDETERMINATE when none answers by the deadline */
export const foldAsker =
  ({ codec, topics, now }: Pick<Instance, 'codec' | 'topics' | 'now'>, gateway: Pick<Gateway, 'request'>): AskFold =>
  async (request, deadline) => {
    const topic = topics.queries(request.aggregateType).name;
    const encoder = await codec.encoder(topic, FoldRequestSchema);
    const timeoutMs = Math.max(1, deadline - now());
    const reply = await gateway.request({ topic, key: null, type: foldQuery, id: randomUUID(), value: encoder.encode(request), timeoutMs });
    if (reply.view === null) throw refusal(reply);
    return codec.decoder(FoldReplySchema).decode(reply.view);
  };

/** Events in one request to fold: a request stays well below what Kafka takes. */
const foldEvents = 500;
const foldBytes = 400_000;
/** While bundles of two versions of the code answer in turns. */
const maxRestarts = 10;

/** The state of an aggregate at a version that it has. */
export async function stateAt(ask: AskFold, index: EventIndex, aggregateId: string, target: number, deadline: number): Promise<Folded> {
  const { states, deletes } = await statesAt(ask, index, aggregateId, { versions: [target], deadline });
  return { version: target, state: states.get(target)!, deleted: deletes.includes(rowAt(index, aggregateId, target)?.type ?? '') };
}

export interface StatesRequest {
  /** Ascending; versions that the aggregate has, or 0 for the state before its first event. */
  readonly versions: readonly number[];
  readonly deadline: number;
  /** Ends with the states so far when they have more characters than this and are two at least. @default unbounded */
  readonly maxLength?: number;
  /** Begins here, and takes no state that was kept. */
  readonly start?: Start;
}
export interface FoldedStates {
  /** Version -> state as JSON. */
  readonly states: ReadonlyMap<number, string>;
  /** Types of the events that end the aggregate. */
  readonly deletes: readonly string[];
  /** Of the code that folded them. */
  readonly codeVersion: string;
}

/**
 * The states of an aggregate at several versions, in one fold. It begins at the nearest state that this version of the code has folded, of a
 * snapshot or of an earlier read, and keeps the states that it comes by.
 */
export async function statesAt(ask: AskFold, index: EventIndex, aggregateId: string, request: StatesRequest): Promise<FoldedStates> {
  const { versions, deadline, maxLength = Number.POSITIVE_INFINITY, start } = request;
  const { name: aggregateType } = index.source;
  const states = new Map<number, string>();
  let left = versions;
  let length = 0;
  let from = start ?? beginning;
  let kept = from.version;
  for (let restarts = 0; restarts <= maxRestarts;) {
    const near = start === undefined ? nearest(index, aggregateId, left[0]!, from.codeVersion) : from;
    if (near.version > from.version) {
      from = near;
      kept = near.version;
    }
    // Up to the last one before a gap: behind it another state may be nearer.
    const target = left.reduce((end, version) => (version - end > spacing ? end : version));
    const events = batch(index, aggregateId, from, target);
    if (events.length === 0 && from.version < target) {
      throw new SpoolError(
        'RECORD_UNREADABLE',
        `version ${from.version + 1} of ${aggregateType} ${aggregateId} is missing in ${index.topic}`,
      );
    }
    const reply = await ask({ aggregateType, aggregateId, ...from, events, statesAt: left }, deadline);
    if (reply.state === null) {
      states.clear();
      left = versions;
      length = 0;
      from = { ...beginning, codeVersion: reply.codeVersion };
      kept = 0;
      restarts += 1;
      continue;
    }
    const { state, version, codeVersion } = reply;
    // A fold of many events is worth a row: the next one that begins here need not do it again.
    if (version - kept >= spacing) {
      put(index, rowKey(aggregateId, version), { state, codeVersion });
      kept = version;
    }
    const passed = left.filter((wanted) => wanted <= version);
    const found = passed.at(-1) === version ? [...reply.states, state] : reply.states;
    if (found.length !== passed.length) {
      const message = `an instance of ${aggregateType} is built on an older @spool/sdk, which does not tell the states on the way: deploy its bundle anew`;
      throw new SpoolError('UNAVAILABLE', message, { retryAfterMs: 1000 });
    }
    passed.forEach((wanted, at) => states.set(wanted, found[at]!));
    length += found.reduce((sum, each) => sum + each.length, 0);
    left = left.slice(passed.length);
    if (left.length === 0 || (length > maxLength && states.size >= 2)) return { states, deletes: reply.deletes, codeVersion };
    from = { state, version, codeVersion };
  }
  throw new SpoolError('UNAVAILABLE', `instances of several versions of ${aggregateType} answer in turns`, { retryAfterMs: 1000 });
}

type Start = Pick<FoldRequest, 'state' | 'version' | 'codeVersion'>;
/** Before the first event. */
export const beginning: Start = { state: null, version: 0, codeVersion: '' };

/** @param codeVersion that is in force, empty where it is not known: states of another are dropped on the way */
function nearest(index: EventIndex, aggregateId: string, target: number, codeVersion: string): Start {
  const range = { from: rowKey(aggregateId, 0), to: rowKey(aggregateId, target + 1), reverse: true };
  for (const [key, row] of index.store.range(statesTable, range)) {
    const known = row as FoldedRow;
    if (codeVersion === '' || known.codeVersion === codeVersion) return { ...known, version: versionOf(key) };
    put(index, key, undefined);
  }
  return beginning;
}

/** Beside the commits of the processor, whose checkpoint stays as it is. */
const put = ({ store }: EventIndex, key: string, row: FoldedRow | undefined): void =>
  store.commit(new Map([[statesTable, new Map([[key, row]])]]), store.checkpoint);

function batch(index: EventIndex, aggregateId: string, { version: after, state }: Start, target: number): FoldRequest['events'] {
  const events: FoldRequest['events'][number][] = [];
  // A large state goes along with fewer events.
  let bytes = Math.max(0, Buffer.byteLength(state ?? '') - foldBytes);
  for (const [version, row] of rowsOf(index, aggregateId, { from: after + 1, to: target + 1, reverse: false, limit: foldEvents })) {
    if (events.length > 0 && bytes + row.payload.length > foldBytes) break;
    events.push({ type: row.type, version, payload: row.payload, at: row.at, id: row.id });
    bytes += row.payload.length;
  }
  return events;
}
