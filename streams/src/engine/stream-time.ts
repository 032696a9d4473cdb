import type { StoreReads, Table } from '../store/store.js';

/** Where a task's stream time stands in its store. */
const taskTable = '$task';
const streamTimeRow = 'streamTime';

export const putStreamTime = (table: <V>(name: string) => Table<V>, at: number): void => table<number>(taskTable).put(streamTimeRow, at);
/** -1 before the first record. */
export const storedStreamTime = (store: StoreReads): number => (store.get(taskTable, streamTimeRow) as number | undefined) ?? -1;
