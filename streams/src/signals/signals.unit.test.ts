import type { ProcessorStatus } from '../engine/work.js';
import { offset } from '../kafka/port.js';
import { createFeeling } from './feeling.js';
import { createSignals, type Sensed } from './signals.js';
import { createWorkMeter } from './work-meter.js';

const resources = { cpu: 0, rssBytes: 5, heapUsedBytes: 0, heapTotalBytes: 0, eventLoopLagMs: 3, eventLoopUtilization: 0.2, gc: 0 };
const status = (consumer: string, places: readonly (readonly [partition: number, position: number, end: number])[], rest = {}) =>
  ({
    consumer,
    state: 'running',
    paused: false,
    shared: true,
    partitions: places.map(([partition, position, end]) => ({
      topic: 't',
      partition,
      position: offset(position),
      end: offset(end),
      lagSeconds: 1,
    })),
    ...rest,
  }) as unknown as ProcessorStatus;
const looked = (at: number, processors: readonly ProcessorStatus[], load = { inFlight: 0, limit: 10 }): Sensed => ({
  at,
  processors,
  resources,
  load,
});

describe('the signals of an instance', () => {
  it('tell what came and what was handled a second, and what waits', () => {
    const work = createWorkMeter();
    const sense = createSignals(work);
    expect(sense(looked(0, [status('a', [[0, 10, 10]])]))).toMatchObject({ arrivals: 0, departures: 0, lag: 0, frozen: null, p99Ms: 0 });
    for (let each = 1; each <= 100; each++) work.handled(each, each > 90);
    const processors = [
      status('a', [[0, 30, 50]]),
      status('b', [
        [0, 0, 0],
        [1, 0, 0],
      ]),
    ];
    sense(looked(1000, processors.slice(1)));
    expect(createSignals(work)(looked(0, processors))).toMatchObject({ lag: 20, lagSeconds: 1, partitions: 2 });
    const other = createSignals(createWorkMeter());
    other(looked(0, [status('a', [[0, 10, 10]])]));
    expect(other(looked(2000, [status('a', [[0, 30, 50]])]))).toMatchObject({ arrivals: 20, departures: 10, lag: 20, frozen: null });
  });

  it('tell how long handling took and how much of it failed, once', () => {
    const work = createWorkMeter();
    const sense = createSignals(work);
    sense(looked(0, []));
    for (let each = 1; each <= 100; each++) work.handled(each, each > 90);
    expect(sense(looked(2000, []))).toMatchObject({ handled: 50, failures: 5, p99Ms: 99 });
    expect(sense(looked(4000, []))).toMatchObject({ handled: 0, failures: 0, p99Ms: 0 });
  });

  it('leave out what is held or has failed: more instances would not handle it', () => {
    const sense = createSignals(createWorkMeter());
    const processors = [
      status('held', [[0, 0, 70]], { paused: true }),
      status(
        'stuck',
        [
          [0, 0, 70],
          [1, 0, 70],
        ],
        { state: 'failed' },
      ),
    ];
    expect(sense(looked(0, [...processors, status('good', [[0, 0, 7]])]))).toMatchObject({ lag: 7, partitions: 1 });
  });

  it('say when they tell of a replay or of a rebalance instead of the load', () => {
    const sense = createSignals(createWorkMeter());
    sense(looked(0, [status('a', [[0, 0, 0]])]));
    expect(
      sense(
        looked(1000, [
          status('a', [
            [0, 0, 0],
            [1, 0, 0],
          ]),
        ]),
      ).frozen,
    ).toBe('rebalance');
    expect(
      sense(
        looked(2000, [
          status('a', [
            [0, 0, 0],
            [1, 0, 0],
          ]),
        ]),
      ).frozen,
    ).toBeNull();
    expect(
      sense(
        looked(3000, [
          status(
            'a',
            [
              [0, 0, 0],
              [1, 0, 0],
            ],
            { state: 'replaying' },
          ),
        ]),
      ).frozen,
    ).toBe('replay');
    expect(
      sense(
        looked(4000, [
          status(
            'a',
            [
              [0, 0, 0],
              [1, 0, 0],
            ],
            { state: 'restoring' },
          ),
        ]),
      ).frozen,
    ).toBe('rebalance');
  });

  it('take the limit that is nearer: the event loop or what may be under way', () => {
    const sense = createSignals(createWorkMeter());
    expect(sense(looked(0, []))).toMatchObject({ utilisation: 0.2, inFlight: 0 });
    expect(sense(looked(1, [], { inFlight: 9, limit: 10 }))).toMatchObject({ utilisation: 0.9, inFlight: 9 });
    expect(sense(looked(2, [], { inFlight: 9, limit: 0 }))).toMatchObject({ utilisation: 0.2 });
  });
});

describe('what an instance feels', () => {
  const bounds = { most: 10, least: 2, count: 100, idleMs: 5000 };
  it('is suffering after so many arrivals while too many wait, until almost nothing does', () => {
    const feel = createFeeling(bounds);
    expect(feel({ at: 0, arrived: 99, departed: 0, waiting: 11 })).toBe('content');
    expect(feel({ at: 1, arrived: 1, departed: 0, waiting: 11 })).toBe('suffering');
    expect(feel({ at: 2, arrived: 1, departed: 40, waiting: 5 })).toBe('suffering');
    expect(feel({ at: 3, arrived: 1, departed: 50, waiting: 1 })).toBe('content');
  });

  it('does not suffer from what waits for a moment under a steady load', () => {
    const feel = createFeeling({ ...bounds, count: 1_000_000 });
    expect(feel({ at: 0, arrived: 9000, departed: 9000, waiting: 80 })).toBe('content');
    const flooded = createFeeling(bounds);
    expect(flooded({ at: 0, arrived: 9000, departed: 70, waiting: 80 })).toBe('suffering');
    expect(flooded({ at: 1, arrived: 9000, departed: 9000, waiting: 80 })).toBe('content');
  });

  it('forgets a burst that did not last', () => {
    const feel = createFeeling(bounds);
    feel({ at: 0, arrived: 99, departed: 0, waiting: 11 });
    feel({ at: 1, arrived: 1, departed: 0, waiting: 10 });
    expect(feel({ at: 2, arrived: 99, departed: 0, waiting: 11 })).toBe('content');
  });

  it('is bored after so many departures while nothing waits, or a long time without arrivals, until much waits', () => {
    const feel = createFeeling(bounds);
    expect(feel({ at: 0, arrived: 50, departed: 99, waiting: 1 })).toBe('content');
    expect(feel({ at: 1, arrived: 1, departed: 1, waiting: 1 })).toBe('bored');
    expect(feel({ at: 2, arrived: 5, departed: 0, waiting: 6 })).toBe('bored');
    expect(feel({ at: 3, arrived: 20, departed: 0, waiting: 20 })).toBe('content');
    expect(feel({ at: 5002, arrived: 0, departed: 0, waiting: 3 })).toBe('content');
    expect(feel({ at: 5003, arrived: 0, departed: 0, waiting: 3 })).toBe('bored');
  });
});
