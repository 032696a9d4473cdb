import { ReplayDifferenceSchema, SpoolError, type ReplayDifference, type ReplayReport } from '@spool/schemas';
import { offset, type Instance } from '@spool/streams';
import type { ReportView } from './requests.js';

const parsed = (text: string | null): unknown => (text === null ? null : JSON.parse(text));
const rowOf = ({ table, key, live, copy }: ReplayDifference) => ({ table, key, live: parsed(live), copy: parsed(copy) });

export function reportOf({ job, instance, at, positions, tables, samples }: ReplayReport): ReportView {
  return {
    replay: job,
    instance,
    at: new Date(at).toISOString(),
    positions: positions.map((place) => ({ ...place, offset: String(place.offset) })),
    equal: tables.every(({ added, removed, changed }) => added + removed + changed === 0),
    tables: [...tables],
    samples: samples.map(rowOf),
  };
}

/** Every difference as a line of JSON, as long as the topic keeps them. @throws SpoolError NOT_FOUND when it does not any more */
export async function* differenceLines(
  { kafka, codec, topics }: Pick<Instance, 'kafka' | 'codec' | 'topics'>,
  { job, attempt, first, end }: ReplayReport,
): AsyncGenerator<string> {
  if (end === 0) return;
  const topic = topics.differences.name;
  const [log] = await kafka.admin.offsets(topic);
  if (log === undefined || log.earliest > first) throw new SpoolError('NOT_FOUND', `the differences of replay ${job} are kept no more`);
  const decoder = codec.decoder(ReplayDifferenceSchema);
  await using reader = await kafka.reader();
  reader.assign({ topic, partition: 0 }, offset(first));
  for (let next = first; next < end;) {
    for (const slice of await reader.fetch()) {
      for (const { key, value } of slice.records) {
        if (value === null || key?.toString() !== job) continue;
        const difference = await decoder.decode(value);
        if (difference.attempt === attempt) yield `${JSON.stringify(rowOf(difference))}\n`;
      }
      next = Number(slice.nextOffset);
    }
  }
}
