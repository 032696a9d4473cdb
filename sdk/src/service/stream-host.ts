import { SpoolError, toSpoolError, type Encoder } from '@spool/schemas';
import { defaultContext } from '../context/context.js';
import { handled, type AskedStream, type Hosting, type StreamElement } from '../host/hosting.js';
import { emitSpan, microsSince } from '../host/spans.js';
import type { Service } from './service.js';

/** As of an event in the log. */
const maxEventBytes = 900_000;

/** Makes the streaming handlers of a service ready for direct calls. */
export async function hostStreams(hosting: Hosting, service: Service): Promise<void> {
  const { instance } = hosting;
  const { codec, topics, log } = instance;
  const topic = topics.events(service.name).name;
  for (const [command, streaming] of Object.entries(service.streams)) {
    const decoder = codec.decoder(streaming.command);
    const encoders = new Map<string, Encoder<unknown>>();
    for (const [type, schema] of Object.entries(streaming.events)) encoders.set(type, await codec.encoder(topic, schema));
    const encode = ({ type, data }: { readonly type: string; readonly data: unknown }): StreamElement => {
      const encoder = encoders.get(type);
      if (encoder === undefined) throw new SpoolError('INTERNAL', `${service.name}.${command} gave ${type}, which is not among its events`);
      const value = encoder.encode(data);
      if (value.length <= maxEventBytes) return { type, value };
      throw new SpoolError('RECORD_TOO_LARGE', `${type} of ${command} has ${value.length} bytes, ${maxEventBytes} is the most`);
    };
    async function* open({ meta, value, after }: AskedStream, signal: AbortSignal): AsyncGenerator<StreamElement, undefined> {
      const began = performance.now();
      const of = { component: service.name, messageKind: 'command', type: command, meta } as const;
      const commandId = meta.id ?? '';
      let errorClass: string | null = null;
      try {
        const payload = await decoder.decode(value);
        const context = {
          commandId,
          after,
          signal,
          correlationId: meta.correlationId ?? commandId,
          context: meta.context ?? defaultContext,
          actor: meta.actor,
          log: (message: string, fields?: Readonly<Record<string, unknown>>) =>
            log('info', message, { service: service.name, commandId, ...fields }),
        };
        const events = await handled(hosting, { ...of, kind: 'service', payload }, () => streaming.handle(payload as never, context));
        for await (const event of events) yield encode(event);
      } catch (thrown) {
        errorClass = toSpoolError(thrown).code;
        throw thrown;
      } finally {
        const times = { handleUs: microsSince(began), commitUs: 0 };
        emitSpan(instance, { ...of, ...times, componentKind: 'service', record: undefined, outcome: null, errorClass, replayId: null });
      }
    }
    hosting.here.streams.set(command, { events: new Set(encoders.keys()), resumable: streaming.resumable, open });
  }
}
