import { createAdmission } from './admission.js';

const timeoutMs = 1000;

interface Simulated {
  /** Commands a second that the one who serves gets done, one after the other. */
  readonly capacity: number;
  /** How much of it there is at a time. @default all, always */
  readonly share?: (at: number) => number;
  /** Commands a second that come, evenly. */
  readonly offered: number;
  readonly seconds: number;
  /** @default by waiting time, 2,048 at the most */
  readonly admitted?: (inFlight: number) => boolean;
  /** Who sends the nth. @default the same for all */
  readonly caller?: (n: number) => string;
}

/** One queue with a clock of its own: what has expired is passed over for a hundredth of the work, as a host does. */
function simulate({ capacity, share = () => 1, offered, seconds, admitted, caller = () => 'one' }: Simulated) {
  let at = 0;
  let inFlight = 0;
  const flow = createAdmission({ maxInFlight: 2048, inFlight: () => inFlight, now: () => at })('cmd.Counter');
  const queue: { readonly due: number; readonly by: string; end: (answered: boolean) => void; over: boolean }[] = [];
  /** The callers' side, in order of their deadlines. */
  const waiting: (typeof queue)[number][] = [];
  let [answered, refused, expired] = [0, 0, 0];
  const answeredOf: Record<string, number> = {};
  const offeredBy: Record<string, number> = {};
  let freeAt = 0;
  const warmMs = 2000;
  const end = (one: (typeof queue)[number], inTime: boolean): void => {
    one.over = true;
    inFlight -= 1;
    one.end(inTime);
  };
  const advance = (to: number): void => {
    for (;;) {
      const late = waiting.find((one) => !one.over);
      while (waiting[0]?.over === true) waiting.shift();
      const serving = queue.length > 0 && freeAt <= to ? Math.max(freeAt, at) : Number.POSITIVE_INFINITY;
      if (late !== undefined && late.due <= Math.min(to, serving)) {
        at = late.due;
        end(late, false);
        if (at >= warmMs) expired += 1;
        continue;
      }
      if (serving > to) break;
      at = serving;
      const next = queue.shift()!;
      if (next.over) {
        freeAt = at + 10 / capacity;
        continue;
      }
      freeAt = at + 1000 / (capacity * share(at));
      const inTime = freeAt < next.due;
      at = Math.max(at, Math.min(freeAt, next.due));
      end(next, inTime);
      if (at < warmMs) continue;
      if (inTime) {
        answered += 1;
        answeredOf[next.by] = (answeredOf[next.by] ?? 0) + 1;
      } else expired += 1;
    }
    at = Math.max(at, to);
  };
  for (let n = 0; n < offered * seconds; n++) {
    advance((n * 1000) / offered);
    const by = caller(n);
    if (at >= warmMs) offeredBy[by] = (offeredBy[by] ?? 0) + 1;
    const no = admitted === undefined ? flow.refusal(timeoutMs, { caller: by }) : undefined;
    if (no !== undefined || admitted?.(inFlight) === false) {
      if (at >= warmMs) refused += 1;
      continue;
    }
    const one = { due: at + timeoutMs, by, end: flow.began(timeoutMs, { caller: by }), over: false };
    inFlight += 1;
    queue.push(one);
    waiting.push(one);
  }
  const perSecond = (count: number): number => count / (seconds - warmMs / 1000);
  const shareOf = (by: string): number => (answeredOf[by] ?? 0) / offeredBy[by]!;
  return { shareOf, goodput: perSecond(answered) / capacity, expired: perSecond(expired), refused: perSecond(refused) };
}

describe('what is let in', () => {
  // Most of them have far less capacity than 2,048 in flight need, the last one more.
  for (const capacity of [20, 50, 500, 5000]) {
    for (const times of [1, 2, 4]) {
      it(`keeps goodput near the capacity of ${capacity}/s at ${times} times as much`, () => {
        const { goodput, expired } = simulate({ capacity, offered: capacity * times, seconds: 20 });
        expect(goodput).toBeGreaterThan(0.95);
        expect(expired).toBeLessThan(0.15 * capacity);
      });
    }
  }

  it('is what a limit by number alone does not find: there nearly everything expires', () => {
    const { goodput } = simulate({ capacity: 500, offered: 2000, seconds: 20, admitted: (inFlight) => inFlight < 2048 });
    expect(goodput).toBeLessThan(0.5);
  });

  it('follows a capacity that falls to a tenth and comes back', () => {
    const share = (at: number): number => (Math.floor(at / 10_000) % 2 === 1 ? 0.1 : 1);
    const { goodput } = simulate({ capacity: 1000, share, offered: 2000, seconds: 60 });
    // Of 58 seconds, 28 have it all and 30 a tenth.
    expect(goodput).toBeGreaterThan(0.9 * ((28 + 3) / 58));
  });

  it('is everything below capacity', () => {
    expect(simulate({ capacity: 500, offered: 450, seconds: 20 })).toMatchObject({ refused: 0, expired: 0 });
  });
});

describe('a flow', () => {
  let at = 0;
  let inFlight = 0;
  beforeEach(() => ([at, inFlight] = [0, 0]));
  const flowTo = (maxInFlight = 2048) => createAdmission({ maxInFlight, inFlight: () => inFlight, now: () => at });
  const started = (flow: ReturnType<ReturnType<typeof flowTo>>, count: number) =>
    Array.from({ length: count }, () => flow.began(timeoutMs));

  it('lets a burst in after quiet times, in which one command a second says little', () => {
    const flow = flowTo()('cmd.Counter');
    for (let n = 0; n < 100; n++) {
      const end = flow.began(timeoutMs);
      at += 5;
      end(true);
      at += 1000;
    }
    started(flow, 2000);
    expect(flow.refusal(timeoutMs)).toBeUndefined();
  });

  it('lets in what is served side by side, however long each takes, as long as that is in time by far', () => {
    const flow = flowTo()('svc.Mail.normal');
    for (const count of [1, 40, 400, 1500]) {
      const ends = started(flow, count);
      expect(flow.refusal(timeoutMs)).toBeUndefined();
      at += 400;
      for (const end of ends) end(true);
    }
  });

  it('lets few in while nobody answers, and all as soon as there are answers again', () => {
    const flow = flowTo()('cmd.Counter');
    const round = (afterMs: number, answered: boolean): number => {
      const ends: ((answered: boolean) => void)[] = [];
      while (flow.refusal(timeoutMs) === undefined && ends.length < 500) ends.push(flow.began(timeoutMs));
      at += afterMs;
      for (const end of ends) end(answered);
      return ends.length;
    };
    round(10, true);
    round(timeoutMs, false);
    round(timeoutMs, false);
    expect(round(timeoutMs, false)).toBe(4);
    for (let n = 0; n < 20; n++) round(10, true);
    expect(round(10, true)).toBe(500);
  });

  it('tells when to come again, with one error for all who come at about the same time', () => {
    const flow = flowTo()('cmd.Counter');
    const ends = started(flow, 100);
    at += 900;
    for (const end of ends.splice(0, 50)) end(true);
    started(flow, 50);
    const refusal = flow.refusal(timeoutMs);
    expect(refusal).toMatchObject({ code: 'OVERLOADED', retryAfterMs: 1000 });
    expect(refusal?.message).toContain('100 requests wait for cmd.Counter already');
    at += 10;
    expect(flow.refusal(timeoutMs)).toBe(refusal);
    at += 100;
    expect(flow.refusal(timeoutMs)).not.toBe(refusal);
    // Who has the time may wait.
    expect(flow.refusal(10_000)).toBeUndefined();
  });

  it('is left alone by another that is slow; all together have one limit', () => {
    const to = flowTo(300);
    const [slow, quick] = [to('cmd.Slow'), to('cmd.Quick')];
    const ends = started(slow, 100);
    at += 900;
    for (const end of ends.splice(0, 50)) end(true);
    expect(slow.refusal(timeoutMs)?.code).toBe('OVERLOADED');
    expect(quick.refusal(timeoutMs)).toBeUndefined();
    inFlight = 300;
    expect(quick.refusal(timeoutMs)).toMatchObject({ code: 'OVERLOADED', message: '300 requests are in flight already' });
  });
});

describe('one who floods', () => {
  it.each([50, 500])('does not starve others at a place that serves %d a second', (capacity) => {
    // Four times what can be served, of which another caller sends one in forty.
    const caller = (n: number): string => (n % 40 === 0 ? 'small' : 'flood');
    const { shareOf, goodput } = simulate({ capacity, offered: 4 * capacity, seconds: 40, caller });
    expect(shareOf('small')).toBeGreaterThan(0.95);
    expect(shareOf('flood')).toBeLessThan(0.3);
    expect(goodput).toBeGreaterThan(0.85);
  });

  it('shares evenly with another who floods', () => {
    const caller = (n: number): string => (n % 4 === 0 ? 'some' : 'more');
    const { shareOf } = simulate({ capacity: 200, offered: 1600, seconds: 40, caller });
    // The one sends three times as much, and gets no more.
    expect(shareOf('some') / shareOf('more') / 3).toBeGreaterThan(0.8);
  });

  it.each([
    ['caller', 8],
    ['type', 64],
    ['urgency', 256],
  ] as const)('leaves room for every other %s', (part, times) => {
    let inFlight = 0;
    const flow = createAdmission({ maxInFlight: (times + 1) ** 2, inFlight: () => inFlight })('cmd.Counter');
    const fill = (name: string): number => {
      for (let count = 0; ; count++) {
        const requested = { [part]: name };
        const refused = flow.refusal(timeoutMs, requested);
        if (refused !== undefined) {
          expect(refused).toMatchObject({ code: 'OVERLOADED', retryAfterMs: 1000 });
          return count;
        }
        flow.began(timeoutMs, requested);
        inFlight += 1;
      }
    };
    expect(fill('a')).toBe(times * (times + 1));
    expect(fill('b')).toBe(times);
    expect(fill('c')).toBe(1);
    expect(fill('c')).toBe(0);
  });

  it('has its room again when what it sent is answered', () => {
    let inFlight = 0;
    const flow = createAdmission({ maxInFlight: 9, inFlight: () => inFlight })('cmd.Counter');
    const ends = Array.from({ length: 8 }, () => {
      inFlight += 1;
      return flow.began(timeoutMs, { caller: 'a' });
    });
    expect(flow.refusal(timeoutMs, { caller: 'a' })).toBeDefined();
    for (const end of ends) {
      inFlight -= 1;
      end(true);
    }
    expect(flow.refusal(timeoutMs, { caller: 'a' })).toBeUndefined();
  });
});
