import { partitionKey, type LocalStore, type Offset } from '@spool/streams';
import { beginnings, createWaiting, perGroup, type HomeRequest, type ModelHome, type ReadModel } from './read-model.js';

interface Part {
  readonly model: ReadModel;
  readonly store: LocalStore;
  ready: boolean;
}

/** Tables on the disk of the instance that owns the partition. Who takes one over reads its log: from what its disk has of it, or from the first event. */
export function partitionedHome({ instance, projector, consumer }: HomeRequest): ModelHome {
  const parts = new Map<number, Part>();
  const waiting = createWaiting();
  const listeners = new Set<(partition: number) => void>();
  const named = (table: (name: string) => unknown): unknown => Object.fromEntries(projector.tables.map((name) => [name, table(name)]));
  const sources = projector.of.map(({ name }) => instance.topics.events(name).name);
  const positions = (): ReadonlyMap<string, Offset> => new Map([...parts.values()].flatMap(({ model }) => [...model.positions]));

  const modelOf = (store: LocalStore, unread: ReadonlyMap<string, Offset>): ReadModel => {
    const views = named((name) => ({
      get: (key: string) => store.get(name, key),
      range: (options?: object) => store.range(name, options),
    }));
    const model: ReadModel = {
      get positions() {
        return new Map([...unread, ...store.checkpoint.positions]);
      },
      // The position is taken first: rows may be newer than it says, never older.
      async read(answer) {
        const at = model.positions;
        return { positions: at, found: await answer(views as never) };
      },
      reach: (position, deadline) => waiting.reach(() => model.positions, position, deadline - instance.now()),
      onCommit: waiting.add,
    };
    return model;
  };
  /** What a former owner had answered from may be newer than what lies on this disk: nobody is answered before the end of the log is reached. */
  const untilReady = async (number: number, part: Part): Promise<void> => {
    const ends = new Map<string, Offset>();
    for (const topic of sources) {
      const end = (await instance.kafka.admin.offsets(topic)).find(({ partition }) => partition === number);
      if (end !== undefined) ends.set(partitionKey(end), end.latest);
    }
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
      const opened = instance.openStore(consumer, id, String(projector.version));
      const part: Part = { store: opened, model: modelOf(opened, beginnings(partitions)), ready: false };
      parts.set(number, part);
      started(number, part);
      const close = (): Promise<void> => {
        // Nobody is answered from what somebody else goes on with.
        if (parts.get(number) === part) parts.delete(number);
        return opened.close();
      };
      const store = Object.assign(Object.create(opened) as LocalStore, { close });
      return Promise.resolve({ store, tables: perGroup((context) => named((name) => context.table(name))) });
    },
    committed: waiting.tell,
  };
}

const lookMs = 1000;
const stepMs = 20;
