import { SpoolError } from '@spool/schemas';

/** Of what a request is one: none of them may take so much that there is no room for the others. */
export interface Requested {
  /** @default one for all who have no name */
  readonly caller?: string | undefined;
  readonly type?: string | undefined;
  readonly urgency?: string | undefined;
}

/** The requests of this process that go to one place: how many wait there, and how fast they are answered. */
export interface Flow {
  /**
   * Why a request with so long to live is not let in, OVERLOADED; undefined lets it in. The same object goes to all who are refused at about the same
   * time: an error of one's own costs more than a request.
   */
  refusal(timeoutMs: number, requested?: Requested): SpoolError | undefined;
  /** One is on its way. @returns to be called once at its end, with whether the answer was one to count on */
  began(timeoutMs: number, requested?: Requested): (answered: boolean) => void;
}

export interface AdmissionOptions {
  /** Of all flows together; more are refused. */
  readonly maxInFlight: number;
  readonly inFlight: () => number;
  /** Milliseconds of a clock that nobody sets. @default performance.now */
  readonly now?: () => number;
}

/**
 * A caller, a type or an urgency may have so many times in flight what is free. However many callers want all there is, each gets as much as the others, and
 * whoever comes anew finds room: with n of them 1 part in 1 + 8 n stays free. A type has room for several such callers, and an urgency for several such types.
 */
const timesFree = { caller: 8, type: 64, urgency: 256 } as const;
/** Who waited longer than this part of its time, answered or not, shows that waiting is long. */
const longWait = 0.5;
/** Who would wait longer than this part of its time is refused. */
const longestWait = 0.75;
/** So few may always wait: by them it shows when answers come again. */
const leastInFlight = 4;
/** The speed is taken over the span under way and the one before. A span has at least so many ends, since fewer tell no speed, … */
const leastEnds = 32;
/** … and so many milliseconds in which somebody waited. */
const spanMs = 250;
const keepRefusalMs = 50;

/**
 * Lets in what can be answered in time: a request that will have expired before its turn is work for everybody and an answer for nobody. What would wait is
 * what is in flight by what is answered a second (Little's law). That tells too much where many are served side by side and few were there so far,
 * so nobody is refused by it unless somebody has lately waited for long.
 * @returns the flow to a place, by its topic
 */
export function createAdmission({ maxInFlight, inFlight, now = () => performance.now() }: AdmissionOptions): (to: string) => Flow {
  const flows = new Map<string, Flow>();
  const full = refusals(now);
  const counts = { caller: createCounts(), type: createCounts(), urgency: createCounts() };
  const tooMuch = { caller: refusals(now), type: refusals(now), urgency: refusals(now) };
  return (to) => {
    let flow = flows.get(to);
    if (flow === undefined) {
      const own = createFlow(to, now);
      flows.set(
        to,
        (flow = {
          refusal(timeoutMs, requested = nobody) {
            const free = maxInFlight - inFlight();
            if (free <= 0) return full(() => [`${maxInFlight} requests are in flight already`, 1000]);
            const much = parts.find((part) => counts[part].of(requested[part]) >= timesFree[part] * free);
            if (much !== undefined) return tooMuch[much](() => [`of one ${much} too many requests are in flight already`, 1000]);
            return own.refusal(timeoutMs, requested);
          },
          began(timeoutMs, requested = nobody) {
            for (const part of parts) counts[part].add(requested[part], 1);
            const end = own.began(timeoutMs, requested);
            return (answered) => {
              for (const part of parts) counts[part].add(requested[part], -1);
              end(answered);
            };
          },
        }),
      );
    }
    return flow;
  };
}

const nobody: Requested = {};
const parts = ['caller', 'type', 'urgency'] as const;

/** Requests in flight by name. The nameless are not counted: they are whoever. */
function createCounts() {
  const counts = new Map<string, number>();
  return {
    of: (name: string | undefined): number => (name === undefined ? 0 : (counts.get(name) ?? 0)),
    add(name: string | undefined, by: 1 | -1): void {
      if (name === undefined) return;
      const count = (counts.get(name) ?? 0) + by;
      if (count === 0) counts.delete(name);
      else counts.set(name, count);
    },
    get names() {
      return counts.size;
    },
  };
}

interface Span {
  /** In which somebody waited. */
  busyMs: number;
  answered: number;
  ended: number;
}
const emptySpan = (): Span => ({ busyMs: 0, answered: 0, ended: 0 });

function createFlow(to: string, now: () => number): Flow {
  let inFlight = 0;
  const callers = createCounts();
  let past = emptySpan();
  let present = emptySpan();
  let countedTo = 0;
  let strainedUntil = Number.NEGATIVE_INFINITY;
  const refused = refusals(now);

  const count = (): number => {
    const at = now();
    if (inFlight > 0) present.busyMs += at - countedTo;
    countedTo = at;
    return at;
  };
  const strained = (at: number, forMs: number): void => void (strainedUntil = Math.max(strainedUntil, at + forMs));
  return {
    refusal(timeoutMs, { caller = '' } = nobody) {
      if (inFlight < leastInFlight || past.ended + present.ended < leastEnds) return undefined;
      const at = count();
      if (at >= strainedUntil) return undefined;
      const answered = past.answered + present.answered;
      const waitMs = (inFlight * (past.busyMs + present.busyMs)) / answered;
      const mostMs = timeoutMs * longestWait;
      if (waitMs <= mostMs) return undefined;
      // As long as some are refused, the others wait no longer than they may, which tells nothing of how it would be without.
      strained(at, timeoutMs);
      // Whoever has less than an even share of what may wait is let in; those who have more make room, since they are not.
      const own = callers.of(caller);
      if (own < (inFlight * mostMs) / waitMs / (own === 0 ? callers.names + 1 : callers.names)) return undefined;
      return refused(() => [
        `${inFlight} requests wait for ${to} already, which would take longer than the ${timeoutMs} ms of one more allow`,
        Math.ceil(Math.min(Math.max(waitMs - mostMs, 100), timeoutMs)),
      ]);
    },
    began(timeoutMs, { caller = '' } = nobody) {
      const began = count();
      inFlight += 1;
      callers.add(caller, 1);
      return (answered) => {
        const at = count();
        inFlight -= 1;
        callers.add(caller, -1);
        present.ended += 1;
        if (answered) present.answered += 1;
        if (at - began > timeoutMs * longWait) strained(at, timeoutMs);
        if (present.busyMs < spanMs || present.ended < leastEnds) return;
        past = present;
        present = emptySpan();
      };
    },
  };
}

function refusals(now: () => number): (make: () => readonly [detail: string, retryAfterMs: number]) => SpoolError {
  let latest: SpoolError | undefined;
  let madeAt = 0;
  return (make) => {
    const at = now();
    if (latest !== undefined && at - madeAt < keepRefusalMs) return latest;
    const [detail, retryAfterMs] = make();
    madeAt = at;
    return (latest = new SpoolError('OVERLOADED', detail, { retryAfterMs }));
  };
}
