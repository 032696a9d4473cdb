import type { ClusterConfig, Heartbeat, InstanceRow } from '@spool/schemas';

/** Incarnations remembered for what they still say too late. */
const maxFormer = 64;
const livingStates: readonly InstanceRow['state'][] = ['starting', 'up', 'suspect', 'draining'];
/** Whether it is expected to be heard. */
export const lives = ({ state }: InstanceRow): boolean => livingStates.includes(state);

/**
 * Whether an earlier run speaks. One that was replaced is known by its name, one from before by its start; where nobody lives any more a start is no
 * reason, since clocks differ.
 */
export const isLate = (row: InstanceRow, { incarnation, startedAt }: Heartbeat): boolean =>
  row.incarnation !== incarnation && (row.former.includes(incarnation) || (lives(row) && startedAt < row.startedAt));

/** What a heartbeat makes of an instance; undefined: no transition. */
export function heard(row: InstanceRow | undefined, beat: Heartbeat, at: number): InstanceRow | undefined {
  const { instance, bundle, version, incarnation, startedAt, host, pid, location } = beat;
  const again = row !== undefined && row.incarnation === incarnation;
  // An earlier run, or one that has taken its leave.
  if (row !== undefined && isLate(row, beat)) return undefined;
  if (again && row.state === 'gone') return undefined;
  const [state, reason] = told(beat.health);
  if (again && row.state === state && (state !== 'draining' || row.reason === reason)) {
    return row.location === location ? undefined : { ...row, location };
  }
  const silent = again && (row.state === 'suspect' || row.state === 'down');
  return {
    instance,
    bundle,
    version,
    state,
    since: at,
    reason: silent ? `heard again; ${reason}` : reason,
    startedAt,
    incarnation,
    host,
    pid,
    location,
    former: row === undefined || again ? (row?.former ?? []) : [...row.former, row.incarnation].slice(-maxFormer),
  };
}

/** What a silence makes of an instance; `forgotten`: nothing is left of it; undefined: no transition. */
export function silent(row: InstanceRow, silentMs: number, config: ClusterConfig, at: number): InstanceRow | 'forgotten' | undefined {
  if (!lives(row)) return at - row.since >= config.forgetMs ? 'forgotten' : undefined;
  const seconds = Math.round(silentMs / 100) / 10;
  if (silentMs >= config.downMs) return { ...row, state: 'down', since: at, reason: `silent for ${seconds} s` };
  if (row.state === 'suspect' || silentMs < suspectMs(config)) return undefined;
  return { ...row, state: 'suspect', since: at, reason: `${config.suspectAfterMissed} heartbeats missed` };
}

/** In how many milliseconds `silent` may say something, if nothing is heard meanwhile. */
export function nextLook(row: InstanceRow, silentMs: number, config: ClusterConfig, at: number): number {
  if (!lives(row)) return row.since + config.forgetMs - at;
  return (row.state === 'suspect' ? config.downMs : Math.min(suspectMs(config), config.downMs)) - silentMs;
}

const suspectMs = ({ heartbeatMs, suspectAfterMissed }: ClusterConfig): number => heartbeatMs * suspectAfterMissed;

function told(health: Heartbeat['health']): readonly [InstanceRow['state'], string] {
  switch (health) {
    case 'starting':
      return ['starting', 'it starts'];
    case 'draining':
      return ['draining', 'it finishes what is under way'];
    case 'drained':
      return ['draining', 'drained: it can be stopped'];
    case 'stopping':
      return ['gone', 'it left in order'];
    case 'up':
    case 'degraded':
    case 'unknown':
      return ['up', 'it is up'];
  }
}
