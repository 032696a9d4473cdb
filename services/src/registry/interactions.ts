import { InteractionSchema, SpanSchema, type Interaction, type Span } from '@spool/schemas';
import { offsetWork, readTable, type Instance, type ProcessorDefinition, type TableReader } from '@spool/streams';

/** Rows of interactions have this prefix. */
const interactionPrefix = 'x/';
/** A row is written at most so often. */
const refreshMs = 60_000;
/** Beyond it the edges seen longest ago are forgotten here, and so written again when they are seen again. */
const maxKnown = 10_000;

/** Projects spans into `registry.interactions`: who was seen to handle what of whom. At least once, which for a last sight is enough. */
export async function interactionProcessor(instance: Instance): Promise<ProcessorDefinition> {
  const { kafka, codec, topics, now, producer } = instance;
  const consumer = `${topics.namespace}spool.interactions`;
  const topic = topics.interactions.name;
  const encoder = await codec.encoder(topic, InteractionSchema);
  const spans = codec.decoder(SpanSchema);
  const writtenAt = new Map<string, number>();
  const see = async (span: Span): Promise<void> => {
    const { payloadType, messageKind, bundle, component } = span;
    const source = span.source ?? '';
    const key = interactionPrefix + JSON.stringify([source, payloadType, bundle, component]);
    const at = now();
    if (at - (writtenAt.get(key) ?? Number.NEGATIVE_INFINITY) < refreshMs) return;
    writtenAt.delete(key);
    writtenAt.set(key, at);
    if (writtenAt.size > maxKnown) writtenAt.delete(writtenAt.keys().next().value!);
    const row: Interaction = { source, payloadType, messageKind, bundle, component, lastSeenAt: at };
    try {
      await producer.send({ topic, key, value: encoder.encode(row) });
    } catch (error) {
      writtenAt.delete(key);
      throw error;
    }
  };
  return {
    consumer,
    sources: [topics.spans.name],
    assignment: 'group',
    startAt: 'latest',
    open: (task) =>
      offsetWork({
        consumer,
        kafka,
        task,
        now,
        async handle(record) {
          if (record.value !== null) await see(await spans.decode(record.value));
        },
      }),
  };
}

/** What was seen, as a local table. */
export function openInteractions({ kafka, codec, topics, log }: Instance): Promise<TableReader<Interaction>> {
  const decoder = codec.decoder(InteractionSchema);
  return readTable<Interaction>({
    kafka,
    topic: topics.interactions.name,
    prefix: interactionPrefix,
    decode: (_, value) => decoder.decode(value),
    onError: (error) => log('warn', 'an interaction cannot be read', { error: String(error) }),
  });
}
