/** The rows of an aggregate's store, and their keys on the `snap` topic. */
export interface StateRow {
  readonly version: number;
  readonly state: unknown;
  readonly snapshotVersion: number;
  /** Its last event ended it. */
  readonly deleted: boolean;
}

export const stateTable = 'state';
export const outcomeTable = 'outcomes';
/** `<millisecond>/<key on the topic>` -> a group's outcomes, in the order in which they expire. */
export const expiryTable = 'expiry';
export interface ExpiryRow {
  /** Key of the record on the topic. */
  readonly record: string;
  /** Ids of its commands. */
  readonly ids: readonly string[];
}
/** `<event offset>` -> aggregate id: aggregates with events that no snapshot covers, oldest first. */
export const uncoveredTable = 'uncovered';

export const snapshotPrefix = 's/';
export const outcomePrefix = 'o/';
export const expiryKey = (at: number, record: string): string => `${String(at).padStart(15, '0')}/${record}`;
export const offsetKey = (at: bigint): string => String(at).padStart(19, '0');
