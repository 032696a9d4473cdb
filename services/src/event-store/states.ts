import { randomUUID } from 'node:crypto';
import { FoldReplySchema, FoldRequestSchema, SpoolError, type FoldReply, type FoldRequest } from '@spool/schemas';
import { foldQuery, refusal, type Gateway } from '@spool/sdk';
import type { Instance } from '@spool/streams';
import { rowKey, statesTable, versionOf, type FoldedRow } from './index-rows.js';
import { spacing, type EventIndex } from './indexer.js';
import { rowsOf } from './streams.js';

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

/**
 * The state of an aggregate at a version that it has. It begins at the nearest state that this version of the code has folded, of a snapshot or
 * of an earlier read, and keeps the states that it comes by.
 */
export async function stateAt(ask: AskFold, index: EventIndex, aggregateId: string, target: number, deadline: number): Promise<Folded> {
  const { name: aggregateType } = index.source;
  let from = nearest(index, aggregateId, target);
  let kept = from.version;
  for (let restarts = 0; restarts <= maxRestarts;) {
    const events = batch(index, aggregateId, from.version, target);
    if (events.length === 0 && from.version < target) {
      throw new SpoolError(
        'RECORD_UNREADABLE',
        `version ${from.version + 1} of ${aggregateType} ${aggregateId} is missing in ${index.topic}`,
      );
    }
    const reply = await ask({ aggregateType, aggregateId, ...from, events }, deadline);
    if (reply.state === null) {
      from = nearest(index, aggregateId, target, reply.codeVersion);
      kept = from.version;
      restarts += 1;
      continue;
    }
    const { state, version, codeVersion } = reply;
    // A fold of many events is worth a row: the next one that begins here need not do it again.
    if (version - kept >= spacing) {
      put(index, rowKey(aggregateId, version), { state, codeVersion });
      kept = version;
    }
    if (version === target) {
      const [last] = rowsOf(index, aggregateId, { from: target, to: target + 1, reverse: false, limit: 1 });
      return { version, state, deleted: last !== undefined && reply.deletes.includes(last[1].type) };
    }
    from = { version, state, codeVersion };
  }
  throw new SpoolError('UNAVAILABLE', `instances of several versions of ${aggregateType} answer in turns`, { retryAfterMs: 1000 });
}

type Start = Pick<FoldRequest, 'state' | 'version' | 'codeVersion'>;

/** @param codeVersion that is in force, where it is known: states of another are dropped on the way */
function nearest(index: EventIndex, aggregateId: string, target: number, codeVersion?: string): Start {
  const range = { from: rowKey(aggregateId, 0), to: rowKey(aggregateId, target + 1), reverse: true };
  for (const [key, row] of index.store.range(statesTable, range)) {
    const known = row as FoldedRow;
    if (codeVersion === undefined || known.codeVersion === codeVersion) return { ...known, version: versionOf(key) };
    put(index, key, undefined);
  }
  return { state: null, version: 0, codeVersion: '' };
}

/** Beside the commits of the processor, whose checkpoint stays as it is. */
const put = ({ store }: EventIndex, key: string, row: FoldedRow | undefined): void =>
  store.commit(new Map([[statesTable, new Map([[key, row]])]]), store.checkpoint);

function batch(index: EventIndex, aggregateId: string, after: number, target: number): FoldRequest['events'] {
  const events: FoldRequest['events'][number][] = [];
  let bytes = 0;
  for (const [version, row] of rowsOf(index, aggregateId, { from: after + 1, to: target + 1, reverse: false, limit: foldEvents })) {
    if (events.length > 0 && bytes + row.payload.length > foldBytes) break;
    events.push({ type: row.type, version, payload: row.payload, at: row.at, id: row.id });
    bytes += row.payload.length;
  }
  return events;
}
