import { toSpoolError } from '@spool/schemas';
import type { Offset, Reader } from '../kafka/port.js';
import { stage } from '../store/staged.js';
import { emptyCheckpoint, partitionKey, type Table } from '../store/store.js';
import { checkpointTableName, moved, putFollowed, recordTaker, restore, restoreSources, type RestoreOptions } from './restore.js';
import { backOffMs, pause } from './retry.js';
import type { StandbyCopy } from './work.js';

export interface StandbyOptions extends Omit<RestoreOptions, 'signal'> {
  readonly onError: (error: unknown) => void;
}

/**
 * Follows what a task's owner writes into a store of this instance, without a claim on anything; the owner's place is taken by closing this and
 * opening the task on the same store, which then has only the tail to read.
 */
export function standbyCopy(options: StandbyOptions): StandbyCopy {
  const stop = new AbortController();
  let reader: Reader | undefined;
  const stopped = (): boolean => stop.signal.aborted;
  const following = (async () => {
    for (let failures = 0; !stopped();) {
      try {
        await restore({ ...options, signal: stop.signal });
        reader = await options.kafka.reader({ onOutOfRange: () => options.store.clear(emptyCheckpoint) });
        await follow(options, reader, stop.signal);
      } catch (error) {
        if (stopped()) return;
        options.onError(toSpoolError(error));
        await pause(backOffMs(failures++), stop.signal);
      } finally {
        await reader?.close();
      }
    }
  })();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      stop.abort();
      await reader?.close();
      await following;
      await options.store.close();
    })());
  return {
    get positions(): ReadonlyMap<string, Offset> {
      return options.store.checkpoint.positions;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Until the reader is closed, or the store belongs to another log. */
async function follow(options: StandbyOptions, reader: Reader, signal: AbortSignal): Promise<void> {
  const { store } = options;
  const staged = stage(store);
  const table = <V>(name: string): Table<V> => staged.table<V>(name);
  const takers = new Map(
    restoreSources(options).map((source) => {
      const key = partitionKey(source.partition);
      reader.assign(source.partition, store.checkpoint.positions.get(key) ?? 'earliest');
      return [key, recordTaker(options, source, table)] as const;
    }),
  );
  while (!signal.aborted) {
    for (const slice of await reader.fetch()) {
      const key = partitionKey(slice);
      // Emptied by `onOutOfRange`: begin anew.
      if (!store.checkpoint.positions.has(key)) return;
      if (slice.nextOffset === slice.fromOffset) continue;
      for (const record of slice.records) {
        const pending = takers.get(key)!(record);
        if (pending !== undefined) await pending;
      }
      putFollowed(table(checkpointTableName), options.now());
      staged.commit(moved(store, key, slice.nextOffset));
    }
  }
}
