import { logEnds, splitPartitionKey, type LocalStore, type Offset } from '@spool/streams';
import { createWaiting, groupTables, storeModel, type HomeRequest, type ModelHome, type ReadModel, type StoredPart } from './read-model.js';

interface Part extends StoredPart {
  readonly model: ReadModel;
  ready: boolean;
}

/** Tables on the disk of the instance that owns the partition. Who takes one over reads its log: from what its disk has of it, or from the first event. */
export function partitionedHome({ instance, projector: { tables, version }, sources, consumer }: HomeRequest): ModelHome {
  const parts = new Map<number, Part>();
  const waiting = createWaiting();
  const listeners = new Set<(partition: number) => void>();
  const positions = (): ReadonlyMap<string, Offset> => new Map([...parts.values()].flatMap(({ model }) => [...model.positions]));

  /** What a former owner had answered from may be newer than what lies on this disk: nobody is answered before the end of the log is reached. */
  const untilReady = async (number: number, part: Part): Promise<void> => {
    const ends = new Map([...(await logEnds(instance.kafka, sources))].filter(([key]) => splitPartitionKey(key).partition === number));
    for (;;) {
      try {
        await part.model.reach(ends, instance.now() + lookMs);
        break;
      } catch {
        if (parts.get(number) !== part) return;
      }
    }
    part.ready = true;
    for (const listener of listeners) listener(number);
    waiting.tell();
  };
  const started = (number: number, part: Part): void => {
    untilReady(number, part).catch((error: unknown) => {
      if (parts.get(number) !== part) return;
      instance.log('warn', 'the end of a log was not read', { consumer, partition: number, error: String(error) });
      setTimeout(() => started(number, part), lookMs).unref();
    });
  };
  return {
    model: {
      get positions() {
        return positions();
      },
      read: () => Promise.reject(new Error('a read model in parts is read by partition')),
      reach: (position, deadline) => waiting.reach(positions, position, deadline - instance.now()),
      onCommit: waiting.add,
      async caughtUp(signal) {
        while ([...parts.values()].some(({ ready }) => !ready)) {
          signal.throwIfAborted();
          await new Promise((resolve) => setTimeout(resolve, stepMs));
        }
      },
      parts: {
        of(partition) {
          const part = parts.get(partition);
          return part?.ready === true ? part.model : undefined;
        },
        onReady(listener) {
          listeners.add(listener);
          return () => void listeners.delete(listener);
        },
      },
    },
    assignment: 'group',
    open({ id, partitions }) {
      const number = Number(id);
      const opened = instance.openStore(consumer, id, String(version));
      const stored: StoredPart = { store: opened, partitions };
      const part: Part = { ...stored, model: storeModel(tables, waiting, instance.now, () => stored), ready: false };
      parts.set(number, part);
      started(number, part);
      const close = (): Promise<void> => {
        // Nobody is answered from what somebody else goes on with.
        if (parts.get(number) === part) parts.delete(number);
        return opened.close();
      };
      const store = Object.assign(Object.create(opened) as LocalStore, { close });
      return Promise.resolve({ store, tables: groupTables(tables) });
    },
    committed: waiting.tell,
  };
}

const lookMs = 1000;
const stepMs = 20;
