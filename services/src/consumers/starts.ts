import { SpoolError } from '@spool/schemas';
import { offset, type Kafka, type Offset, type PartitionOffsets } from '@spool/streams';
import { z } from 'zod';

/** A place in a topic, as requests name it. */
export const place = z.union([
  z.enum(['earliest', 'latest']),
  z.strictObject({ timestamp: z.iso.datetime({ offset: true }) }),
  z.strictObject({
    offsets: z.record(z.string().regex(/^\d{1,9}$/, 'Expected a partition'), z.string().regex(/^\d{1,19}$/, 'Expected an offset, as text')),
  }),
]);
export type Place = z.infer<typeof place>;

/**
 * Where each partition begins by it; partitions that it does not name are absent.
 * @param pointer of the place in the body @throws SpoolError OFFSET_OUT_OF_RANGE with the range
 */
export async function startsOf(
  kafka: Pick<Kafka, 'admin'>,
  topic: string,
  from: Place,
  ends: readonly PartitionOffsets[],
  pointer: string,
): Promise<ReadonlyMap<number, Offset>> {
  if (from === 'earliest' || from === 'latest') return new Map(ends.map((at) => [at.partition, at[from]]));
  if ('timestamp' in from) {
    const found = await kafka.admin.offsetsAt(topic, Date.parse(from.timestamp));
    return new Map(found.map((at) => [at.partition, at.offset]));
  }
  const starts = new Map<number, Offset>();
  for (const [partition, text] of Object.entries(from.offsets)) {
    const end = ends.find((each) => each.partition === Number(partition));
    const wanted = offset(text);
    if (end === undefined || wanted < end.earliest || wanted > end.latest) {
      const range =
        end === undefined ? `${topic} has ${ends.length} partitions` : `${topic}-${partition} goes from ${end.earliest} to ${end.latest}`;
      const violations = [{ pointer: `${pointer}/offsets/${partition}`, message: range }];
      throw new SpoolError('OFFSET_OUT_OF_RANGE', `offset ${text} of partition ${partition} is outside the log: ${range}`, { violations });
    }
    starts.set(Number(partition), wanted);
  }
  return starts;
}
