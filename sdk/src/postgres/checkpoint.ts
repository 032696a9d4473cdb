import { offset, type Offset, type StoreCheckpoint, type StoredReplay } from '@spool/streams';

/** A checkpoint as the columns of `spool_positions` hold it. */
export interface CheckpointRow {
  readonly positions: Readonly<Record<string, string>>;
  /** Of type bigint, which the driver gives as text. */
  readonly epoch: string;
  readonly replay: (Omit<StoredReplay, 'starts' | 'targets'> & { readonly starts: Offsets; readonly targets: Offsets }) | null;
}
type Offsets = Readonly<Record<string, string>>;

export const toOffsets = (offsets: ReadonlyMap<string, Offset>): Offsets =>
  Object.fromEntries([...offsets].map(([key, at]) => [key, String(at)]));
export const fromOffsets = (offsets: Offsets): ReadonlyMap<string, Offset> =>
  new Map(Object.entries(offsets).map(([key, at]) => [key, offset(at)]));

export const toCheckpoint = ({ positions, epoch, replay }: CheckpointRow): StoreCheckpoint => ({
  positions: fromOffsets(positions),
  epoch: BigInt(epoch),
  replay: replay === null ? undefined : { ...replay, starts: fromOffsets(replay.starts), targets: fromOffsets(replay.targets) },
});

export const toReplay = (replay: StoredReplay | undefined): CheckpointRow['replay'] =>
  replay === undefined ? null : { ...replay, starts: toOffsets(replay.starts), targets: toOffsets(replay.targets) };
