import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { bytes, connectKafka, long, openInstance, runTopology, string, topicCatalogue, topology, type StoredTable } from '@spool/streams';
import { joinedValue, type EngineTopics } from '../workload.js';
import type { StartContender } from './contender.js';

/** Spool as people use it: a declared topology, run by an instance with heartbeats, telemetry, stores on disk and their changelog. */
export const startSpool: StartContender = async ({ workload, brokers, id, topics, dataDir }) => {
  const kafka = await connectKafka({ brokers, clientId: id });
  const instance = await openInstance({
    kafka,
    codec: createCodec({ registry: createMemoryRegistry() }),
    topics: topicCatalogue({ namespace: `${id}.` }),
    bundle: 'bench',
    version: '1.0.0',
    instance: 'bench-0',
    dataDir,
    log: () => undefined,
    now: Date.now,
  });
  await runTopology(instance, workload === 'count' ? counting(topics) : joining(topics));
  return {
    async close() {
      await instance.close();
      await kafka.close();
    },
  };
};

const key = string;

export const counting = ({ input, output }: Pick<EngineTopics, 'input' | 'output'>) =>
  topology('count', ({ stream }): { counts: StoredTable<string, number> } => {
    const counts = stream(input, { key, value: bytes }).groupByKey().count('counts');
    counts.toStream().to(output, { key, value: long });
    return { counts };
  });

const joining = ({ input, table, output }: EngineTopics) =>
  topology('join', (declare) => {
    const rows = declare.table(table, { key, value: bytes, name: 'rows' });
    declare.stream(input, { key, value: bytes }).join(rows, joinedValue).to(output, { key, value: bytes });
  });
