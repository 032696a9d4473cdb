import { HeartbeatSchema, type Heartbeat, type ProcessorStatus } from '@spool/schemas';
import { tailTopic, type Instance } from '@spool/streams';

/** One running copy of a processor. */
export interface Copy {
  readonly beat: Heartbeat;
  readonly status: ProcessorStatus;
}

/** The processors of all instances that are alive, by their heartbeats. */
export interface Beats extends AsyncDisposable {
  /** Ids of all consumers that some live instance runs, in order. */
  consumers(): readonly string[];
  /** One for each live instance that runs the consumer. */
  copies(consumer: string): readonly Copy[];
  /** Called after each heartbeat. */
  onBeat(listener: () => void): () => void;
  close(): Promise<void>;
}

/** An instance that has been silent for longer is taken for dead, in milliseconds; it beats every two seconds. */
const silentMs = 10_000;

export async function openBeats({ kafka, codec, topics, now, log }: Instance): Promise<Beats> {
  const decoder = codec.decoder(HeartbeatSchema);
  const beats = new Map<string, Heartbeat>();
  const listeners = new Set<() => void>();
  const tail = await tailTopic({
    kafka,
    topic: topics.heartbeats.name,
    onError: (error) => log('warn', 'a heartbeat was passed over', { error: String(error) }),
    async onRecord({ value }) {
      if (value === null) return;
      const beat = await decoder.decode(value);
      if (beat.health === 'stopping' || !alive(beat, now())) beats.delete(beat.instance);
      else beats.set(beat.instance, beat);
      for (const listener of listeners) listener();
    },
  });
  const live = (): Copy[] => {
    for (const beat of beats.values()) if (!alive(beat, now())) beats.delete(beat.instance);
    return [...beats.values()].flatMap((beat) => beat.processors.map((status) => ({ beat, status })));
  };
  return {
    consumers: () => [...new Set(live().map(({ status }) => status.consumer))].sort(),
    copies: (consumer) => live().filter(({ status }) => status.consumer === consumer),
    onBeat(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: tail.close,
    [Symbol.asyncDispose]: tail.close,
  };
}

const alive = (beat: Heartbeat, now: number): boolean => now - beat.at < silentMs;
