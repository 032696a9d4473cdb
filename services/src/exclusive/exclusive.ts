import { SpoolError, toSpoolError } from '@spool/schemas';
import type { Instance, ProducerRecord } from '@spool/streams';

/** Does something that ends in one transaction; what it read since it began is still so when it commits, or it does not commit. */
export type Exclusively = <T>(work: (commit: (records: readonly ProducerRecord[]) => Promise<unknown>) => Promise<T>) => Promise<T>;

/**
 * One at a time: calls in this process wait for each other, and whoever begins in another process fences who is under way here.
 * @param name what is kept from happening twice at once; the same in all processes
 */
export function exclusively({ kafka, topics }: Instance, name: string): Exclusively {
  let turn: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = turn.then(async () => {
      const writer = await kafka.transactionalProducer({ transactionalId: `${topics.namespace}${name}` });
      try {
        return await work((records) => writer.commit(records));
      } catch (thrown) {
        if (toSpoolError(thrown).entry.retryable !== 'fatal') throw thrown;
        throw new SpoolError('UNAVAILABLE', 'somebody else writes at the same time; try again', { cause: thrown, retryAfterMs: 500 });
      } finally {
        await writer.close();
      }
    });
    turn = done.catch(() => undefined);
    return done;
  };
}
