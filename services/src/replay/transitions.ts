import { SpoolError, type ReplayJob } from '@spool/schemas';

export type State = ReplayJob['state'];
type Mode = 'rewind' | 'shadow' | 'scratch';
export type Action = 'pause' | 'resume' | 'throttle' | 'cancel' | 'promote' | 'rollback' | 'drop';

/** An order and the state that it leaves the replay in; `undefined`: as it is. */
type Orders = Partial<Record<State, Partial<Record<Action, State | undefined>>>>;

const building = { pause: undefined, resume: undefined, throttle: undefined } as const;
/** What may be ordered of a replay, by its mode and state. All else is refused. */
const orders: Record<Mode, Orders> = {
  // It is cancelled when its instances say so.
  rewind: { running: { ...building, cancel: undefined } },
  shadow: {
    running: { ...building, cancel: 'cancelled', drop: 'cancelled' },
    ready: { promote: 'promoting', cancel: 'cancelled', drop: 'cancelled' },
    promoting: { rollback: 'ready', cancel: 'cancelled' },
    completed: { rollback: 'rollingBack', drop: undefined },
    rolledBack: { promote: 'promoting', drop: undefined },
  },
  scratch: { running: { ...building, cancel: 'cancelled', drop: 'cancelled' } },
};

/** What a replay comes to by itself, when all its instances have done what it takes. */
export const next: Record<Mode, Partial<Record<State, State>>> = {
  rewind: { running: 'completed' },
  shadow: { running: 'ready', promoting: 'completed', rollingBack: 'rolledBack' },
  scratch: { running: 'completed' },
};

/** Another replay of the same target has to wait. */
export const isOpen = ({ state }: Pick<ReplayJob, 'state'>): boolean =>
  state === 'running' || state === 'ready' || state === 'promoting' || state === 'rollingBack';

/** Whether it is an order that those which were ordered together obey all, or none. */
export const isJoint = (action: Action): boolean => action === 'promote' || action === 'rollback';

type Place = Pick<ReplayJob, 'id' | 'mode' | 'state'>;
const allowedOf = ({ mode, state }: Place): Partial<Record<Action, State | undefined>> =>
  mode === 'unknown' ? {} : (orders[mode][state] ?? {});
export const takes = (job: Place, action: Action): boolean => action in allowedOf(job);

/** The state after an order. @throws SpoolError INVALID_REQUEST with what may be ordered */
export function after(job: Place, action: Action): State {
  const { id, mode, state } = job;
  const allowed = allowedOf(job);
  if (action in allowed) return allowed[action] ?? state;
  const names = Object.keys(allowed);
  throw new SpoolError(
    'INVALID_REQUEST',
    `${action}: replay ${id} is a ${mode} and ${state}: ${names.length === 0 ? 'it has ended' : `it takes ${names.join(', ')}`}`,
  );
}
