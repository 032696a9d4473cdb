import { SpoolError } from '@spool/schemas';
import { offset, type Instance, type Kafka } from '@spool/streams';
import type { EventSource } from '../indexer.js';
import type { AskFold } from '../states.js';
import { eventChecker, seenTable, type EventChecks } from './check-events.js';
import { compareSnapshots, keepForReplay, snapshotReader, type SnapshotChecks, type SnapshotCounts } from './check-snapshots.js';
import { readLog } from './read-log.js';
import { openScratch } from './scratch.js';
import type { Violation } from './violations.js';

export interface VerifyOptions extends Pick<Instance, 'codec' | 'topics' | 'now'> {
  readonly kafka: Kafka;
  /** Folds by the code of the bundle. @default nothing is folded: snapshots are checked for their hash alone */
  readonly ask?: AskFold | undefined;
  /** Only events from this time on, in milliseconds since the epoch; snapshots are then not compared. @default the whole log */
  readonly from?: number | undefined;
  /** Takes a folder for the time of the check, of about the size of the ids and of the events of aggregates with snapshots. */
  readonly scratchDir: string;
  readonly onViolation: (violation: Violation) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface VerifyReport extends SnapshotCounts {
  readonly source: string;
  readonly kind: EventSource['kind'];
  readonly events: number;
  readonly aggregates: number;
  /** Snapshots that were compared with the fold of all their events. */
  readonly compared: number;
  readonly violations: number;
}

const foldWithinMs = 30_000;

/**
 * Checks the log of one source of events as it stands at the call, and its snapshots: versions, writers, ids, deletions, hashes, and each snapshot
 * against the fold of all events before it. Memory does not grow with the log.
 * @throws SpoolError UNKNOWN_TOPIC, KAFKA_UNAVAILABLE; INDETERMINATE when no instance folds
 */
export async function verifySource(source: EventSource, options: VerifyOptions): Promise<VerifyReport> {
  const { kafka, codec, topics, now, from, signal } = options;
  const { name, kind } = source;
  const topic = topics.events(name).name;
  await using scratch = openScratch(options.scratchDir);
  let violations = 0;
  const tell: EventChecks['tell'] = (code, { topic: of, partition, offset: at }, facts) => {
    violations += 1;
    options.onViolation({ code, topic: of, partition, offset: at.toString(), aggregateType: name, ...facts });
  };
  // 1. The code that folds, and what it holds to be a deletion.
  const askNow = (request: Parameters<AskFold>[0]) => options.ask!(request, now() + foldWithinMs);
  const nothing = { aggregateType: name, aggregateId: '', state: null, version: 0, codeVersion: '', events: [], statesAt: [] };
  const code = kind === 'aggregate' && options.ask !== undefined ? await askNow(nothing) : undefined;
  // 2. A log that was cut has lost history.
  const cut = (await kafka.admin.offsets(topic)).filter(({ earliest }) => earliest > 0n);
  for (const { partition, earliest } of cut) {
    tell('LOG_CUT', { topic, partition, offset: offset(0) }, { aggregateId: '', expected: 'offset 0', found: `offset ${earliest}` });
  }
  const partial = from !== undefined || cut.length > 0;
  // 3. Snapshots, before the events that they are compared with.
  const snapshotTopic = topics.snapshots(name).name;
  const codeVersion = partial ? undefined : code?.codeVersion;
  const checks: SnapshotChecks = { scratch, tell, codec, aggregateType: name, topic: snapshotTopic, codeVersion };
  const snapshots = snapshotReader(checks);
  if (kind === 'aggregate') await readLog({ kafka, topic: snapshotTopic, signal }, snapshots.take);
  // 4. Events. A snapshot that was taken meanwhile is not known, and the events behind the known ones are there.
  let events = 0;
  const check = eventChecker({ scratch, partial, deletes: new Set(code?.deletes), tell });
  await readLog({ kafka, topic, from, signal }, (record) => {
    events += 1;
    const event = check(record);
    if (event !== undefined) keepForReplay(scratch, event);
  });
  scratch.flush();
  // 5. Snapshots against the fold of all their events.
  const compared = codeVersion === undefined ? 0 : await compareSnapshots(checks, askNow, signal);
  return { source: name, kind, events, aggregates: scratch.count(seenTable), compared, ...snapshots.counts(), violations };
}

/** The sources that were asked for by name, else all. @throws SpoolError UNKNOWN_AGGREGATE */
export function chosenSources(known: readonly EventSource[], names: readonly string[]): readonly EventSource[] {
  const missing = names.find((name) => !known.some((source) => source.name === name));
  if (missing !== undefined) throw new SpoolError('UNKNOWN_AGGREGATE', `no bundle has an aggregate, a service or a saga ${missing}`);
  return known.filter(({ name }) => names.length === 0 || names.includes(name));
}
