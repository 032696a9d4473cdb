/** One event as the index keeps it: everything that a read of a stream gives, so that reading needs no fetch. */
export interface IndexRow {
  readonly id: string;
  readonly type: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly partition: number;
  readonly offset: string;
  /** The payload in the Confluent wire format. */
  readonly payload: Buffer;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
  readonly commandId: string | undefined;
  readonly actor: string | undefined;
}
/** A state to begin a fold with: of a snapshot, or of an earlier fold. */
export interface FoldedRow {
  /** JSON. */
  readonly state: string;
  /** Of the code that folded it. */
  readonly codeVersion: string;
}

export const streamsTable = 'streams';
export const statesTable = 'states';
/** Versions of one aggregate stand side by side, in order. */
export const rowKey = (aggregateId: string, version: number): string => `${aggregateId}\u0001${String(version).padStart(12, '0')}`;
export const versionOf = (key: string): number => Number(key.slice(key.lastIndexOf('\u0001') + 1));
/** More than any aggregate has. */
export const maxVersion = 999_999_999_999;
/** LMDB takes keys of 1,978 bytes; an id this long leaves room in every encoding. */
export const maxAggregateIdBytes = 500;
