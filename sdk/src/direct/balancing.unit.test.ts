import type { InstanceRow } from '@spool/schemas';
import { hostname } from 'node:os';
import type { Instances } from '../cluster/instances.js';
import type { Registry } from '../registry/registry.js';
import { consistentHash, leastLoaded, randomly, roundRobin, type Candidate } from './balancing.js';
import type { Call } from './call.js';
import { discovery } from './discovery.js';

const call = (key: string): Call => ({ kind: 'command', id: '1', type: 'Add', key, value: Buffer.of(), timeoutMs: 1, meta: {} });
const candidates = (...loads: number[]): Candidate[] => loads.map((inFlight, n) => ({ instance: `i-${n}`, url: 'u', inFlight }));

describe('a balancer', () => {
  it('takes each in turn, any, or one with the fewest calls under way', () => {
    const turn = roundRobin();
    expect([0, 1, 2, 3].map(() => turn(candidates(0, 0, 0), call('a')).instance)).toEqual(['i-0', 'i-1', 'i-2', 'i-0']);
    expect([0, 0.5, 0.999].map((n) => randomly(() => n)(candidates(0, 0, 0), call('a')).instance)).toEqual(['i-0', 'i-1', 'i-2']);
    const least = leastLoaded();
    expect([0, 1, 2].map(() => least(candidates(5, 1, 1), call('a')).instance)).toEqual(['i-1', 'i-2', 'i-1']);
  });

  it('takes the same for the same key, spreads the keys, and moves only those of one who goes', () => {
    const hash = consistentHash();
    const keys = Array.from({ length: 300 }, (_, n) => `k${n}`);
    const of = (all: Candidate[]): string[] => keys.map((key) => hash(all, call(key)).instance);
    const before = of(candidates(0, 0, 0));
    expect(of(candidates(9, 0, 3))).toEqual(before);
    for (const each of ['i-0', 'i-1', 'i-2']) expect(before.filter((chosen) => chosen === each).length).toBeGreaterThan(60);
    const after = of(candidates(0, 0));
    expect(keys.filter((_, n) => before[n] !== 'i-2' && before[n] !== after[n])).toEqual([]);
  });
});

describe('discovery', () => {
  it('finds those of the bundle that take calls, keeps them for a while, and hears of changes', () => {
    const rows: Partial<InstanceRow>[] = [];
    let [at, looks] = [0, 0];
    const listeners: (() => void)[] = [];
    const onChange = (listener: () => void): (() => void) => {
      listeners.push(listener);
      return () => undefined;
    };
    const live = (): readonly Partial<InstanceRow>[] => {
      looks += 1;
      return rows;
    };
    const payload = (kind: string, type: string) => (kind === 'query' && type === 'Total' ? { bundle: 'counting' } : undefined);
    const found = discovery({ payload, onChange } as unknown as Registry, { live, onChange } as unknown as Instances, { now: () => at });
    const row = (instance: string, rest: Partial<InstanceRow> = {}): void => {
      rows.push({ instance, state: 'up', host: hostname(), location: `http://127.0.0.1:1`, ...rest });
    };
    const find = (): string[] => found.find({ kind: 'query', type: 'Total' }).map(({ instance }) => instance);
    row('starts', { state: 'starting' });
    expect([find(), find(), looks]).toEqual([['starts'], ['starts'], 1]);
    row('here');
    row('mute', { location: null });
    row('elsewhere', { host: 'another-machine' });
    row('far', { host: 'another-machine', location: 'http://10.0.0.7:80' });
    listeners.forEach((each) => each());
    expect([find(), find(), looks]).toEqual([['here', 'far'], ['here', 'far'], 2]);
    at += 1000;
    expect([find(), looks]).toEqual([['here', 'far'], 3]);
    expect(found.find({ kind: 'query', type: 'Nothing' })).toEqual([]);
  });
});
