/** What can be wrong with a log of events and its snapshots. */
export const violationCodes = {
  LOG_CUT: 'Events at the beginning of the partition are gone',
  EVENT_UNREADABLE: 'A record is not an event: key, value, ce_id, ce_type or aggregateversion is missing',
  VERSION_GAP: 'Versions of an aggregate are missing before this event',
  VERSION_REPEATED: 'A version of an aggregate is there a second time',
  EPOCH_FELL: 'The writer of this event is older than the one before it in the partition',
  EVENT_REPEATED: 'An event id is there a second time',
  AFTER_DELETION: 'An event follows the one that ended its aggregate',
  SNAPSHOT_UNREADABLE: 'A snapshot cannot be decoded',
  SNAPSHOT_HASH: 'The hash of a snapshot is not that of its state',
  SNAPSHOT_AHEAD: 'A snapshot is of a version that the log does not have',
  FOLD_FAILED: 'The events before a snapshot cannot be folded',
  SNAPSHOT_DIFFERS: 'A snapshot is not what its events fold into',
} as const;
export type ViolationCode = keyof typeof violationCodes;

export interface Violation {
  readonly code: ViolationCode;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly aggregateType: string;
  /** Empty where there is none to name. */
  readonly aggregateId: string;
  /** Of the snapshot, where it is known. */
  readonly version?: number;
  readonly expected: string;
  readonly found: string;
  /** Of SNAPSHOT_DIFFERS: what the events fold into, and what the snapshot holds. Left out when they are large. */
  readonly states?: { readonly expected: unknown; readonly found: unknown };
}
