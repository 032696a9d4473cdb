/** What a client was told. Anything that leaves the outcome open (a time-out, an expiry, a part that is away) is `unknown`. */
export type Outcome =
  | { readonly kind: 'applied' | 'duplicate'; readonly version: number; readonly events: readonly EventInReply[] }
  | { readonly kind: 'conflict'; readonly actual: number }
  | { readonly kind: 'rejected' }
  | { readonly kind: 'unknown'; readonly code: string }
  /** Anything else: nobody should be told it. */
  | { readonly kind: 'failed'; readonly code: string };
export interface EventInReply {
  readonly id: string;
  readonly version: number;
}

/** One sending of a command; times in milliseconds since the epoch, by the clock that the instances have too. */
export interface Attempt {
  readonly invokedAt: number;
  readonly returnedAt: number;
  readonly outcome: Outcome;
}

/** A command with all that its client did with its id. */
export interface Call {
  readonly commandId: string;
  readonly aggregateId: string;
  /** The version that it names. */
  readonly expected: number;
  /** How many events it asks for; 0 is rejected by the domain. */
  readonly events: number;
  /** In the order in which they were sent. */
  readonly attempts: readonly Attempt[];
}

/** An event as the log has it. */
export interface LoggedEvent {
  readonly partition: number;
  readonly offset: bigint;
  readonly aggregateId: string;
  readonly version: number;
  readonly id: string;
  readonly commandId: string;
  /** When it was decided. */
  readonly at: number;
}

/**
 * All that is wrong with what the clients were told, held against the log, a sentence each; empty when every acknowledged command is in the log once,
 * versions are contiguous, conflicts are real, replies agree with the log, and a repeated id got one outcome.
 * @param log read-committed, in the order of each partition
 */
export function violations(history: readonly Call[], log: readonly LoggedEvent[]): readonly string[] {
  const calls = new Map(history.map((call) => [call.commandId, call]));
  const written = groups(log, ({ commandId }) => commandId);
  const streams = new Map([...groups(log, ({ aggregateId }) => aggregateId)].map(([id, events]) => [id, streamOf(events, calls)]));
  return [
    ...[...streams].flatMap(([id, stream]) => wrongInStream(id, stream)),
    ...[...written].flatMap(([commandId, events]) => wrongInCommand(commandId, calls.get(commandId), events)),
    ...history.flatMap((call) => [
      ...wrongInReplies(call, written.get(call.commandId) ?? []),
      ...wrongInConflicts(call, streams.get(call.aggregateId) ?? emptyStream),
    ]),
  ];
}

interface Stream {
  readonly events: readonly LoggedEvent[];
  /** Versions that a reader can have met: those after a whole command. */
  readonly boundaries: ReadonlySet<number>;
  /** By version: it was not there before this moment. */
  readonly notBefore: ReadonlyMap<number, number>;
  /** Versions and the moments by which they were there for sure, both rising. */
  readonly surelyBy: readonly { readonly version: number; readonly at: number }[];
}
const emptyStream: Stream = { events: [], boundaries: new Set([0]), notBefore: new Map(), surelyBy: [] };

function streamOf(events: readonly LoggedEvent[], calls: ReadonlyMap<string, Call>): Stream {
  const boundaries = new Set([
    0,
    ...events.flatMap((event, index) => (events[index + 1]?.commandId === event.commandId ? [] : [event.version])),
  ]);
  const acknowledged = events
    .flatMap(({ commandId, version }) => {
      const at = Math.min(...(calls.get(commandId)?.attempts ?? []).filter(isAcknowledged).map(({ returnedAt }) => returnedAt));
      return Number.isFinite(at) ? [{ version, at }] : [];
    })
    .sort((a, b) => b.version - a.version);
  // A version was there by the time that any later one was acknowledged.
  let earliest = Number.POSITIVE_INFINITY;
  const surelyBy = acknowledged.map(({ version, at }) => ({ version, at: (earliest = Math.min(earliest, at)) })).reverse();
  return { events, boundaries, notBefore: new Map(events.map(({ version, at }) => [version, at])), surelyBy };
}

/** Versions are 1..n, in the order of the log. */
function wrongInStream(aggregateId: string, { events }: Stream): readonly string[] {
  return events.flatMap((event, index) => {
    const before = events[index - 1]?.version ?? 0;
    if (event.version === before + 1) return [];
    const what = event.version > before + 1 ? 'a gap' : 'doubled or out of order';
    return [`${aggregateId}: version ${event.version} follows ${before} at ${place(event)}: ${what}`];
  });
}

/** What is in the log was sent, is whole, once, at the version that its command expected, and was decided after it was sent. */
function wrongInCommand(commandId: string, call: Call | undefined, events: readonly LoggedEvent[]): readonly string[] {
  const [first] = events;
  if (first === undefined) return [];
  if (call === undefined) return [`${commandId}: in the log at ${place(first)}, and nobody sent it`];
  const found: string[] = [];
  const distinct = new Set(events.map(({ id }) => id)).size;
  if (distinct < events.length || events.length > call.events)
    found.push(`${commandId}: ${events.length} events in the log, it asked for ${call.events}: doubled, first at ${place(first)}`);
  if (distinct < call.events)
    found.push(`${commandId}: ${distinct} of its ${call.events} events are in the log: torn apart at ${place(first)}`);
  if (events.some(({ aggregateId }) => aggregateId !== call.aggregateId))
    found.push(`${commandId}: was written to another aggregate at ${place(first)}`);
  if (first.version !== call.expected + 1)
    found.push(`${commandId}: expected version ${call.expected}, and was applied at version ${first.version - 1} at ${place(first)}`);
  if (first.at < (call.attempts[0]?.invokedAt ?? 0)) found.push(`${commandId}: its event is older than the command at ${place(first)}`);
  return found;
}

function wrongInReplies({ commandId, attempts }: Call, events: readonly LoggedEvent[]): readonly string[] {
  const found: string[] = [];
  // 1. What was acknowledged is in the log, as the reply has it, and was there when it was told.
  for (const { outcome, returnedAt } of attempts.filter(isAcknowledged)) {
    if (outcome.kind !== 'applied' && outcome.kind !== 'duplicate') continue;
    const last = events.at(-1);
    if (last === undefined) {
      found.push(`${commandId}: acknowledged with version ${outcome.version}, and not in the log: lost`);
      continue;
    }
    const inLog = events.map(({ id, version }) => `${id}@${version}`).join();
    const inReply = outcome.events.map(({ id, version }) => `${id}@${version}`).join();
    if (inLog !== inReply || outcome.version !== last.version)
      found.push(`${commandId}: the reply says ${inReply} and version ${outcome.version}, the log ${inLog}`);
    if (last.at > returnedAt) found.push(`${commandId}: was acknowledged ${last.at - returnedAt} ms before its event was decided`);
  }
  // 2. One id has one outcome, and is applied once.
  const known = attempts.filter(({ outcome }) => outcome.kind !== 'unknown');
  const outcomes = new Set(known.map(({ outcome }) => recordedAs(outcome)));
  if (outcomes.size > 1) found.push(`${commandId}: told ${[...outcomes].join(', then ')} for the same id`);
  for (const { outcome, invokedAt } of known) {
    const again = outcome.kind === 'applied' && known.some((other) => other.outcome.kind === 'applied' && other.returnedAt < invokedAt);
    if (again) found.push(`${commandId}: applied, and then applied again for the same id`);
  }
  for (const { outcome } of known) if (outcome.kind === 'failed') found.push(`${commandId}: failed with ${outcome.code}`);
  // 3. Who was refused has changed nothing.
  const refused = known.find(({ outcome }) => outcome.kind === 'conflict' || outcome.kind === 'rejected');
  if (refused !== undefined && events.length > 0)
    found.push(`${commandId}: told ${refused.outcome.kind}, and in the log at ${place(events[0]!)}`);
  return found;
}

/** A conflict names a version that is not the expected one and that the aggregate had at some moment between the sending and the answer. */
function wrongInConflicts({ commandId, aggregateId, expected, attempts }: Call, stream: Stream): readonly string[] {
  // An answer that came late may answer an earlier attempt.
  const began = attempts[0]?.invokedAt ?? 0;
  return attempts.flatMap(({ outcome, returnedAt }) => {
    if (outcome.kind !== 'conflict') return [];
    const { actual } = outcome;
    const says = `${commandId}: told that ${aggregateId} is at version ${actual} and not ${expected}`;
    if (actual === expected) return [`${says}: that is the expected version`];
    if (!stream.boundaries.has(actual)) return [`${says}: it never was`];
    if ((stream.notBefore.get(actual) ?? 0) > returnedAt)
      return [`${says}: it came to that ${stream.notBefore.get(actual)! - returnedAt} ms later`];
    const next = stream.surelyBy.find(({ version }) => version > actual);
    if (next !== undefined && next.at < began) return [`${says}: it had gone beyond ${began - next.at} ms before the command was sent`];
    return [];
  });
}

const isAcknowledged = ({ outcome: { kind } }: Attempt): boolean => kind === 'applied' || kind === 'duplicate';
const recordedAs = (outcome: Outcome): string => {
  if (outcome.kind === 'applied' || outcome.kind === 'duplicate') return `applied at version ${outcome.version}`;
  return outcome.kind;
};
const place = ({ partition, offset }: LoggedEvent): string => `partition ${partition}, offset ${offset}`;

function groups<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = found.get(key);
    if (group === undefined) found.set(key, [item]);
    else group.push(item);
  }
  return found;
}
