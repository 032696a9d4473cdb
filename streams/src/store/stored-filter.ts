/** Which records a rewind handles again; the others are passed over, as far as they have been handled before. */
export interface ReplayFilter {
  /** Event types (`ce_type`); empty: all. */
  readonly types: readonly string[];
  /** All but `types`. */
  readonly skipTypes: boolean;
  /** Record keys; empty: all. */
  readonly keys: readonly string[];
  /** All but `keys`. */
  readonly skipKeys: boolean;
  /** `topic-partition` -> the first offset, as text, that is not handled again; a partition that is not named has no end. */
  readonly ends: Readonly<Record<string, string>>;
}
/** As it stands in a checkpoint, in plain JSON. */
export interface StoredFilter extends ReplayFilter {
  /** `topic-partition` -> the first offset, as text, that had not been handled when the replay began: from there on nothing is passed over. */
  readonly handled: Readonly<Record<string, string>>;
}
