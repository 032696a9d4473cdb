import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { AvroSchema } from '../avro/schema.js';
import { createMemoryRegistry } from '../codec/memory-registry.js';
import type { RegisteredVersion, SchemaRegistry } from '../codec/registry.js';
import type { Compatibility } from '../compatibility/levels.js';
import { toSpoolError } from '../errors/spool-error.js';

/** What the next requests get instead of an answer: a status with a body, or nothing at all. */
type Fault = { readonly status: number; readonly body: string } | 'silence';

export interface RegistryServer extends AsyncDisposable {
  readonly url: string;
  /** Requests so far, as `GET /path`. */
  readonly requests: readonly string[];
  readonly levels: ReadonlyMap<string, Compatibility>;
  /** Faults for the next requests, one each. */
  readonly faults: Fault[];
  /** Bodies that `GET /schemas/ids/<id>` and `GET /subjects/<s>/versions/<v>` give instead of their own, by path. */
  readonly bodies: Map<string, object>;
}

/** The routes of Confluent's REST API that the HTTP registry uses, over registries in memory, one for each level. */
export async function startRegistryServer(): Promise<RegistryServer> {
  const requests: string[] = [];
  const faults: Fault[] = [];
  const bodies = new Map<string, object>();
  const levels = new Map<string, Compatibility>();
  const registry = createMemoryRegistry();

  const server = createServer((request, response) => {
    requests.push(`${request.method!} ${request.url!}`);
    const fault = faults.shift();
    if (fault === 'silence') return;
    const answer = (status: number, body: string): void => {
      response.writeHead(status, { 'content-type': 'application/vnd.schemaregistry.v1+json' }).end(body);
    };
    if (fault !== undefined) {
      answer(fault.status, fault.body);
      return;
    }
    const path = request.url!;
    const made = bodies.get(path);
    if (made !== undefined) {
      answer(200, JSON.stringify(made));
      return;
    }
    void route(registry, levels, request, path).then(({ status, body }) => {
      answer(status, JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    levels,
    faults,
    bodies,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const statuses: Readonly<Record<string, number>> = { SCHEMA_UNKNOWN: 404, SCHEMA_INCOMPATIBLE: 409, SCHEMA_INVALID: 422 };
interface Answer {
  readonly status: number;
  readonly body: unknown;
}
const notFound: Answer = { status: 404, body: { error_code: 40401, message: 'Subject not found.' } };

async function route(
  registry: SchemaRegistry,
  levels: Map<string, Compatibility>,
  request: IncomingMessage,
  path: string,
): Promise<Answer> {
  try {
    const [, root, name = '', part, version] = path.split('/').map(decodeURIComponent) as [string, string, string?, string?, string?];
    const body = await bodyOf(request);
    const schema = (): AvroSchema => JSON.parse(body['schema'] as string) as AvroSchema;
    const versionBody = ({ version: number, id, schema: of }: RegisteredVersion): Answer => ({
      status: 200,
      body: { subject: name, version: number, id, schema: JSON.stringify(of) },
    });
    if (root === 'schemas') return { status: 200, body: { schema: JSON.stringify(await registry.schemaById(Number(part))) } };
    if (root === 'config') {
      levels.set(name, body['compatibility'] as Compatibility);
      return { status: 200, body };
    }
    if (name === '') return { status: 200, body: await registry.subjects() };
    if (request.method === 'POST' && part === 'versions') return { status: 200, body: { id: await registry.register(name, schema()) } };
    const versions = await registry.versions(name);
    const wanted =
      request.method === 'POST'
        ? versions.find((each) => JSON.stringify(each.schema) === JSON.stringify(schema()))
        : version === 'latest'
          ? versions.at(-1)
          : versions.find((each) => each.version === Number(version));
    return wanted === undefined ? notFound : versionBody(wanted);
  } catch (thrown) {
    const { code, message } = toSpoolError(thrown);
    return { status: statuses[code] ?? 500, body: { error_code: statuses[code] ?? 50001, message } };
  }
}

async function bodyOf(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return parts.length === 0 ? {} : (JSON.parse(Buffer.concat(parts).toString()) as Record<string, unknown>);
}
