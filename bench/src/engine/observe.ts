import { partitionKey, type Kafka } from '@spool/streams';
import { partitions, type Answers } from './workload.js';

/** Reads a contender's results as they become visible to a read-committed reader. */
export interface Observer extends AsyncDisposable {
  /** Called with each answered input and the time of its result. */
  onAnswer: ((input: number, at: number) => void) | undefined;
  /** When the first results were seen, and how many came with them. */
  readonly first: { readonly at: number; readonly count: number } | undefined;
  /** When the latest results were seen; as all times of `performance.now()`. */
  readonly lastAt: number;
  /** Resolves when every input that is expected by then has its answer. @throws Error on a wrong result, or when none comes for `quietMs` */
  untilAnswered(quietMs: number): Promise<void>;
}

export async function observe(kafka: Kafka, topic: string, answers: Answers, count = partitions): Promise<Observer> {
  const reader = await kafka.reader({ maxWaitMs: 100 });
  for (let partition = 0; partition < count; partition++) reader.assign({ topic, partition }, 'earliest');
  let onAnswer: Observer['onAnswer'];
  let first: Observer['first'];
  let lastAt = performance.now();
  let stopped = false;
  let failure: unknown;
  const read = async (): Promise<void> => {
    while (!stopped) {
      const slices = await reader.fetch();
      const at = performance.now();
      const before = answers.answered;
      for (const slice of slices) {
        for (const record of slice.records) {
          try {
            for (const input of answers.take(record)) onAnswer?.(input, at);
          } catch (thrown) {
            throw new Error(`${partitionKey(slice)}@${record.offset}: ${(thrown as Error).message}`, { cause: thrown });
          }
        }
      }
      const taken = answers.answered - before;
      if (taken === 0) continue;
      first ??= { at, count: taken };
      lastAt = at;
    }
  };
  const reading = read().catch((thrown: unknown) => (failure = thrown));
  return {
    get onAnswer() {
      return onAnswer;
    },
    set onAnswer(told) {
      onAnswer = told;
    },
    get first() {
      return first;
    },
    get lastAt() {
      return lastAt;
    },
    async untilAnswered(quietMs) {
      const began = performance.now();
      while (answers.answered < answers.expected) {
        if (failure !== undefined) throw failure as Error;
        if (performance.now() - Math.max(began, lastAt) > quietMs) {
          throw new Error(
            `${answers.expected - answers.answered} of ${answers.expected} inputs have no result in ${topic}, and none comes`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      await reader.close();
      await reading;
    },
  };
}
