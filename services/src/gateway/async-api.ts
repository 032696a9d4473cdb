import { avroContentType, headerNames, type JsonSchema } from '@spool/schemas';
import type { RegisteredPayload, Registry } from '@spool/sdk';
import { route, type ApiInfo, type Route } from '../http/index.js';

const text = { type: 'string' };
const headersOf = (kind: RegisteredPayload['kind']): JsonSchema => {
  const required = [
    headerNames.id,
    headerNames.type,
    headerNames.source,
    headerNames.time,
    headerNames.specVersion,
    headerNames.contentType,
  ];
  const names = [
    ...[...required, headerNames.traceparent, headerNames.correlationId, headerNames.causationId, headerNames.actor, headerNames.context],
    ...(kind === 'event' ? [headerNames.aggregateVersion, headerNames.commandId, headerNames.writerEpoch] : []),
    ...(kind === 'command' ? [headerNames.expectedVersion] : []),
    ...(kind === 'event' ? [] : [headerNames.deadline, headerNames.replyTo]),
  ];
  return { type: 'object', properties: Object.fromEntries(names.map((name) => [name, text])), required };
};
const keyOf: Readonly<Record<string, string>> = {
  command: 'The aggregate id; of a service, the lock, or else the id of the command',
  event: 'The aggregate id',
};

/** AsyncAPI 3: a channel for each topic that carries messages of bundles, and each message as Avro, as it stands on the topic. */
export function asyncApi(info: ApiInfo, registry: Pick<Registry, 'payloads'>): JsonSchema {
  const channels: Record<string, { address: string; messages: Record<string, unknown> }> = {};
  const operations: Record<string, unknown> = {};
  const messages: Record<string, unknown> = {};
  const payloads = registry.payloads();
  for (const payload of payloads) {
    const { kind, type, topic, schemaName, recordSchema } = payload;
    const id = `${kind}.${type}`;
    messages[id] = {
      name: type,
      title: type,
      summary: `Of ${payload.component}, by ${payload.bundle} ${payload.bundleVersion}`,
      contentType: avroContentType,
      tags: [{ name: kind }, { name: payload.component }],
      headers: headersOf(kind),
      payload: { schemaFormat: 'application/vnd.apache.avro+json;version=1.9.0', schema: recordSchema.schema },
      ...(kind in keyOf ? { bindings: { kafka: { key: { type: 'string', description: keyOf[kind] }, bindingVersion: '0.5.0' } } } : {}),
      'x-schema-name': schemaName,
    };
    // A view travels in replies.
    if (kind === 'view') continue;
    const channel = (channels[topic] ??= { address: topic, messages: {} });
    channel.messages[id] = { $ref: `#/components/messages/${pointer(id)}` };
    operations[id] = {
      action: kind === 'event' ? 'send' : 'receive',
      summary: kind === 'event' ? `${payload.component} tells of ${type}` : `${payload.component} takes ${type}`,
      channel: { $ref: `#/channels/${pointer(topic)}` },
      messages: [{ $ref: `#/channels/${pointer(topic)}/messages/${pointer(id)}` }],
    };
  }
  return {
    asyncapi: '3.0.0',
    info: { title: info.title, version: info.version, description: 'What the bundles send and receive, as they have announced it' },
    defaultContentType: avroContentType,
    channels,
    operations,
    components: { messages },
  };
}

const pointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1');

export const asyncApiRoute = (info: ApiInfo, registry: Pick<Registry, 'payloads'>): Route =>
  route({
    method: 'GET',
    path: '/asyncapi.json',
    tag: 'service',
    rateClass: 'costly',
    summary: 'The messages of all bundles',
    role: 'public',
    responses: { 200: { description: 'AsyncAPI 3', contentType: 'application/json' } },
    handler: () => ({ status: 200, body: JSON.stringify(asyncApi(info, registry)) }),
  });
