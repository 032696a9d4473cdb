import { createPacing, type Behind, type Running } from './pacing.js';

const replay: Running = { id: 'r', consumer: 'own', maxLagSeconds: 10, asked: null, speed: 10_000 };
const at = (seconds: number, rate: number | null, consumer = 'other'): readonly Behind[] => [
  { consumer: 'own', seconds: 500, rate },
  { consumer, seconds, rate: null },
];

describe('the pace of a replay', () => {
  it('is left alone while the others keep up, however far it is behind itself', () => {
    const pacing = createPacing(() => 0);
    expect(pacing.decide([replay], at(0, null))).toEqual([]);
    expect(pacing.decide([replay], at(9, null))).toEqual([]);
    expect(pacing.slowedFor('r')).toBeUndefined();
  });

  it('is halved as long as another is too far behind, one heartbeat after the other, and never below what lets it end', () => {
    const pacing = createPacing(() => 0);
    pacing.decide([replay], at(0, null));
    expect(pacing.decide([replay], at(11, null))).toEqual([{ id: 'r', consumer: 'own', rate: 5000 }]);
    expect(pacing.slowedFor('r')).toBe('other');
    // No heartbeat has shown it yet.
    expect(pacing.decide([replay], at(12, null))).toEqual([]);
    expect(pacing.decide([replay], at(13, 5000))).toEqual([{ id: 'r', consumer: 'own', rate: 2500 }]);
    expect(pacing.decide([replay], at(13, 2500))[0]!.rate).toBe(1250);
    expect(pacing.decide([{ ...replay, speed: 90 }], at(13, 1250))[0]!.rate).toBe(625);
    for (const rate of [625, 312, 156]) pacing.decide([replay], at(13, rate));
    expect(pacing.decide([replay], at(13, 100))).toEqual([]);
  });

  it('is let go step by step once the others have caught up, and in the end altogether', () => {
    const pacing = createPacing(() => 0);
    pacing.decide([replay], at(0, null));
    pacing.decide([replay], at(11, null));
    // Not yet: it would swing.
    expect(pacing.decide([replay], at(6, 5000))).toEqual([]);
    expect(pacing.decide([replay], at(5, 5000))[0]!.rate).toBe(7500);
    expect(pacing.decide([replay], at(0, 7500))[0]!.rate).toBeNull();
    expect(pacing.decide([replay], at(0, null))).toEqual([]);
    expect(pacing.slowedFor('r')).toBeUndefined();
  });

  it('goes back to the limit that was asked for, and never beyond', () => {
    const pacing = createPacing(() => 0);
    const asked = { ...replay, asked: 4000, speed: 4000 };
    expect(pacing.decide([asked], at(0, 4000))).toEqual([]);
    expect(pacing.decide([asked], at(11, 4000))[0]!.rate).toBe(2000);
    expect(pacing.decide([asked], at(0, 2000))[0]!.rate).toBe(3000);
    expect(pacing.decide([asked], at(0, 3000))[0]!.rate).toBe(4000);
    expect(pacing.decide([asked], at(0, 4000))).toEqual([]);
  });

  it('never makes a slow one faster', () => {
    const pacing = createPacing(() => 0);
    expect(pacing.decide([{ ...replay, asked: 20, speed: 20 }], at(0, 20))).toEqual([]);
    expect(pacing.decide([{ ...replay, asked: 20, speed: 20 }], at(11, 20))).toEqual([]);
  });

  it('does not mind who was behind before, until that one has caught up once', () => {
    const pacing = createPacing(() => 0);
    expect(pacing.decide([replay], at(900, null))).toEqual([]);
    expect(pacing.decide([replay], at(950, null))).toEqual([]);
    expect(pacing.decide([replay], at(3, null))).toEqual([]);
    expect(pacing.decide([replay], at(11, null))).toHaveLength(1);
  });

  it('does not mind other replays, nor a consumer that nobody runs', () => {
    const pacing = createPacing(() => 0);
    const second = { ...replay, id: 's', consumer: 'other' };
    expect(pacing.decide([replay, second], at(0, null))).toEqual([]);
    expect(pacing.decide([replay, second], at(700, null))).toEqual([]);
    expect(pacing.decide([replay], [{ consumer: 'other', seconds: 60, rate: null }])).toEqual([]);
  });

  it('orders again what no heartbeat shows, and lets go what another service has held', () => {
    let now = 0;
    const pacing = createPacing(() => now);
    pacing.decide([replay], at(0, null));
    pacing.decide([replay], at(11, null));
    now = 10_000;
    expect(pacing.decide([replay], at(11, null))).toEqual([{ id: 'r', consumer: 'own', rate: 5000 }]);
    expect(createPacing(() => now).decide([{ ...replay, speed: 900 }], at(0, 800))[0]!.rate).toBeNull();
  });
});
