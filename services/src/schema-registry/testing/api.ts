/** Talks to a registry as a client does, for tests. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly type: string | null;
  readonly headers: Headers;
}
export interface Api {
  get(path: string): Promise<Answer>;
  post(path: string, body?: unknown): Promise<Answer>;
  put(path: string, body?: unknown): Promise<Answer>;
  delete(path: string): Promise<Answer>;
  /** Registers and gives the id. @throws Error when it is refused */
  register(subject: string, schema: unknown, more?: object): Promise<number>;
}

export function apiOf(url: string): Api {
  const call = async (method: string, path: string, body?: unknown): Promise<Answer> => {
    const response = await fetch(`${url}${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' } }),
    });
    return { status: response.status, body: await response.json(), type: response.headers.get('content-type'), headers: response.headers };
  };
  return {
    get: (path) => call('GET', path),
    post: (path, body) => call('POST', path, body),
    put: (path, body) => call('PUT', path, body),
    delete: (path) => call('DELETE', path),
    register: async (subject, schema, more) => {
      const answer = await call('POST', `/subjects/${encodeURIComponent(subject)}/versions`, { schema: textOf(schema), ...more });
      if (answer.status !== 200) throw new Error(JSON.stringify(answer.body));
      return (answer.body as { readonly id: number }).id;
    },
  };
}

const textOf = (schema: unknown) => (typeof schema === 'string' ? schema : JSON.stringify(schema));

/** A record of int fields; `default` gives each a default. */
export const recordOf = (name: string, fields: readonly string[], withDefaults = false) =>
  JSON.stringify({
    type: 'record',
    name,
    fields: fields.map((field) => ({ name: field, type: 'int', ...(withDefaults && { default: 0 }) })),
  });

/** Retries a check until it passes. @throws its last error after 10 s */
export async function eventually(check: () => Promise<void>): Promise<void> {
  for (const deadline = Date.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
    try {
      await check();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
  }
}
