import { partitionKey } from '../store/store.js';
import type { Kafka, Offset } from './port.js';

/** Where the topics end now, by `topic-partition`: what an end that is fixed at a start is compared with. */
export async function logEnds({ admin }: Pick<Kafka, 'admin'>, topics: readonly string[]): Promise<ReadonlyMap<string, Offset>> {
  const offsets = await Promise.all(topics.map((topic) => admin.offsets(topic)));
  return new Map(offsets.flat().map((at) => [partitionKey(at), at.latest]));
}
