/** What the tests of the running demo ask it, over its three ways in: HTTP, Kafka (by kcat, a client that is not ours) and ClickHouse. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

export interface Demo {
  readonly gateway: string;
  readonly clickhouse: string;
  readonly kafka: string;
}

const run = promisify(execFile);
const json = { 'content-type': 'application/json' };

/** @throws Error naming each program that the tests and the pages need and that is not there */
export async function assertPrograms(...programs: readonly string[]): Promise<void> {
  const found = await Promise.all(
    programs.map((program) =>
      run('sh', ['-c', `command -v ${program}`]).then(
        () => true,
        () => false,
      ),
    ),
  );
  const missing = programs.filter((_, index) => found[index] === false);
  if (missing.length > 0) throw new Error(`${missing.join(', ')} missing: apt-get install ${missing.join(' ')} (.ci/run does it)`);
}

export interface Reply {
  readonly status: number;
  readonly type: string | null;
  readonly body: Readonly<Record<string, unknown>>;
}

/** One request to the gateway; a body that is no string is sent as JSON. */
export async function request(
  { gateway }: Demo,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const content =
    body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { ...json, ...headers } };
  const answer = await fetch(`${gateway}${path}`, { method, headers, ...content, signal: AbortSignal.timeout(40_000) });
  return { status: answer.status, type: answer.headers.get('content-type'), body: (await answer.json()) as Record<string, unknown> };
}

/** The view that a query gives; undefined when there is none. @throws Error for any other answer */
export async function ask(demo: Demo, query: string, payload: object): Promise<unknown> {
  const { status, body } = await request(demo, 'POST', `/api/v1/queries/${query}`, { payload });
  if (status === 200) return body.view;
  if (body.code === 'NOT_FOUND') return undefined;
  throw new Error(`${query} ${JSON.stringify(payload)}: ${JSON.stringify(body)}`);
}

/** The rows of a statement. */
export async function select({ clickhouse }: Demo, statement: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const answer = await fetch(`${clickhouse}/?database=spool&default_format=JSON&output_format_json_quote_64bit_integers=0`, {
    method: 'POST',
    body: statement,
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return (JSON.parse(text) as { data: Record<string, unknown>[] }).data;
}

export interface LoggedEvent {
  readonly key: string;
  readonly id: string;
  readonly version: number;
  readonly commandId: string;
}

const kcat = async ({ kafka }: Demo, ...args: readonly string[]): Promise<string> =>
  (await run('kcat', ['-b', kafka, ...args], { maxBuffer: 512 * 1024 * 1024, timeout: 60_000 })).stdout;

/** Every committed event of `evt.Flight`, in the order of each partition. */
export async function eventsInLog(demo: Demo): Promise<readonly LoggedEvent[]> {
  const all = ['-C', '-t', 'evt.Flight', '-o', 'beginning', '-e', '-q', '-X', 'isolation.level=read_committed', '-f', '%k\\t%h\\n'];
  const rows = (await kcat(demo, ...all)).split('\n').slice(0, -1);
  return rows.map((row) => {
    const [key, headers] = row.split('\t');
    const {
      ce_id: id,
      aggregateversion,
      commandid,
    } = Object.fromEntries(headers!.split(',').map((header) => header.split('=', 2) as [string, string]));
    return { key: key!, id: id!, version: Number(aggregateversion), commandId: commandid! };
  });
}

/** The end of each partition of every topic that takes commands, events or queries, open transactions included. */
export async function logEnds(demo: Demo): Promise<Readonly<Record<string, string>>> {
  const { topics } = JSON.parse(await kcat(demo, '-L', '-J')) as { topics: { topic: string; partitions: { partition: number }[] }[] };
  const wanted = topics
    .filter(({ topic }) => /^(cmd|evt|qry|svc|snap|dlq)\./.test(topic))
    .flatMap(({ topic, partitions }) => partitions.flatMap(({ partition }) => ['-t', `${topic}:${partition}:-1`]));
  const rows = (await kcat(demo, '-Q', ...wanted)).split('\n').filter((row) => row !== '');
  return Object.fromEntries(rows.sort().map((row) => /^(\S+ \[\d+\]) offset (\d+)$/.exec(row)!.slice(1) as [string, string]));
}
