/** The rows of an aggregate's store, and their keys on the `snap` topic. */
export interface StateRow {
  readonly version: number;
  readonly state: unknown;
  readonly snapshotVersion: number;
  /** Its last event ended it. */
  readonly deleted: boolean;
}

export const stateTable = 'state';
/** `<event offset>` -> aggregate id: aggregates with events that no snapshot covers, oldest first. */
export const uncoveredTable = 'uncovered';

export const snapshotPrefix = 's/';
export const offsetKey = (at: bigint): string => String(at).padStart(19, '0');
