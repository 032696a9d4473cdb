/**
 * The ownership protocol of acquire.ts as a model, checked over every interleaving: processes that acquire and write, one that is the owner when it
 * begins and may be a zombie, and a crash of any of them at any step. A step is what the broker does at once; between two steps anything may happen.
 *
 * The property: whoever commits a write knew all committed writes before it. It is what "one writer" is for: a decision on an old state would be a
 * lost update.
 */

/** A record at its offset. Transactions are open from their first record on; readers stop before the first open one. */
interface Entry {
  readonly kind: 'claim' | 'write';
  readonly owner: number;
  readonly state: 'open' | 'committed' | 'aborted';
  /** Claims that a claim's transaction takes back. */
  readonly taken: readonly number[];
  /** Of a write: up to where its writer had read when it decided. */
  readonly knew: number;
}
interface Process {
  readonly step: 'read' | 'look' | 'claiming' | 'owner' | 'writing' | 'stopped';
  /** How far it has read: the offset of the next entry. */
  readonly position: number;
  readonly fenced: readonly number[];
  readonly claimed: boolean;
  readonly writes: number;
}
interface World {
  readonly log: readonly Entry[];
  /** Transactional ids that somebody has taken. */
  readonly fenced: readonly number[];
  readonly processes: readonly Process[];
}
interface Rules {
  readonly generations: readonly number[];
  /** What a broken protocol leaves out, to see that the check finds it. */
  readonly without?: 'fence' | 'read-back' | 'claim';
}

const lastStable = (log: readonly Entry[]): number => {
  const open = log.findIndex(({ state }) => state === 'open');
  return open < 0 ? log.length : open;
};
function claimsIn(log: readonly Entry[], upTo: number): Set<number> {
  const standing = new Set<number>();
  for (const { kind, owner, state, taken } of log.slice(0, upTo)) {
    if (kind !== 'claim' || state !== 'committed') continue;
    standing.add(owner);
    for (const other of taken) standing.delete(other);
  }
  return standing;
}
const decide = (log: readonly Entry[], owner: number, state: 'committed' | 'aborted'): Entry[] =>
  log.map((entry) => (entry.owner === owner && entry.state === 'open' ? { ...entry, state } : entry));
const lostUpdate = (log: readonly Entry[]): boolean =>
  log.some((late, at) => isWrite(late) && log.slice(late.knew, at).some((early) => isWrite(early) && early.owner !== late.owner));
const isWrite = ({ kind, state }: Entry): boolean => kind === 'write' && state === 'committed';

/** Every world that one step leads to. */
function* next(world: World, { generations, without }: Rules): Iterable<World> {
  for (const [me, process] of world.processes.entries()) {
    const { log } = world;
    const become = (change: Partial<Process>, rest: Partial<World> = {}): World => ({
      ...world,
      ...rest,
      processes: world.processes.map((other, index) => (index === me ? { ...other, ...change } : other)),
    });
    if (process.step === 'stopped') continue;
    // A crash leaves a transaction open; the broker aborts it when somebody takes the id, or in its own time.
    yield become({ step: 'stopped' });
    if (log.some(({ owner, state }) => owner === me && state === 'open'))
      yield become({ step: 'stopped' }, { log: decide(log, me, 'aborted') });
    const begin = (entry: Pick<Entry, 'kind' | 'taken'>, step: Process['step']): World =>
      world.fenced.includes(me)
        ? become({ step: 'stopped' })
        : become({ step }, { log: [...log, { ...entry, owner: me, state: 'open', knew: process.position }] });
    const commit = (change: Partial<Process>): World => {
      const alive = !world.fenced.includes(me) && log.some(({ owner, state }) => owner === me && state === 'open');
      return alive ? become(change, { log: decide(log, me, 'committed') }) : become({ step: 'stopped' });
    };
    switch (process.step) {
      case 'read':
        yield become({ step: 'look', position: lastStable(log) });
        break;
      case 'look': {
        const claims = claimsIn(log, process.position);
        const readBack = claims.delete(me) || without === 'read-back' || without === 'claim';
        const rivals = [...claims].filter((owner) => !process.fenced.includes(owner));
        const [rival] = rivals;
        if ([...claims].some((owner) => generations[owner]! > generations[me]!)) yield become({ step: 'stopped' });
        else if (rival !== undefined) {
          // One at a time; taking an id aborts what is open under it.
          const taken = without === 'fence' ? {} : { fenced: [...new Set([...world.fenced, rival])], log: decide(log, rival, 'aborted') };
          yield become({ step: rivals.length > 1 ? 'look' : 'read', claimed: false, fenced: [...process.fenced, rival] }, taken);
        } else if (process.claimed && readBack) yield become({ step: 'owner' });
        else if (process.claimed) yield become({ step: 'read' });
        else if (without === 'claim') yield become({ step: 'owner' });
        else yield begin({ kind: 'claim', taken: [...claims] }, 'claiming');
        break;
      }
      case 'claiming':
        yield commit({ claimed: true, step: without === 'read-back' ? 'owner' : 'read' });
        break;
      case 'owner':
        if (process.writes > 0) yield begin({ kind: 'write', taken: [] }, 'writing');
        break;
      case 'writing':
        // It knows its own write; of the others' it knows what it had read.
        yield commit({ step: 'owner', writes: process.writes - 1 });
        break;
    }
  }
}

const fresh: Process = { step: 'read', position: 0, fenced: [], claimed: false, writes: 2 };
const owner: Process = { ...fresh, step: 'owner', position: 1, claimed: true };
const owned: readonly Entry[] = [{ kind: 'claim', owner: 0, state: 'committed', taken: [], knew: 0 }];

function check(rules: Rules, processes: readonly Process[], log: readonly Entry[]) {
  const first: World = { log, fenced: [], processes };
  const known = new Set([JSON.stringify(first)]);
  const todo = [first];
  const owners = new Set<number>();
  for (let world = todo.pop(); world !== undefined; world = todo.pop()) {
    world.processes.forEach(({ step }, index) => step === 'owner' && owners.add(index));
    for (const after of next(world, rules)) {
      if (lostUpdate(after.log)) return { worlds: known.size, lost: true, owners };
      const name = JSON.stringify(after);
      if (known.has(name)) continue;
      known.add(name);
      todo.push(after);
    }
  }
  return { worlds: known.size, lost: false, owners };
}

describe('ownership by claims, over every interleaving', () => {
  it('loses no update when a zombie and its two successors meet, with a crash at each step', () => {
    const { worlds, lost, owners } = check({ generations: [1, 2, 3] }, [owner, { ...fresh, writes: 1 }, { ...fresh, writes: 1 }], owned);
    expect(lost).toBe(false);
    expect(worlds).toBeGreaterThan(5_000);
    expect([...owners].sort()).toEqual([0, 1, 2]);
  });

  it('loses no update when two claim what nobody has claimed', () => {
    expect(check({ generations: [1, 2] }, [fresh, fresh], [])).toMatchObject({ lost: false, owners: new Set([0, 1]) });
  });

  it.each(['fence', 'read-back', 'claim'] as const)('loses one without the %s', (without) => {
    expect(check({ generations: [1, 2, 3], without }, [owner, fresh, fresh], owned).lost).toBe(true);
  });
});
