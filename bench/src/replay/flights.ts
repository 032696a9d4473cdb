import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { Agent, request, type IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { pathToFileURL } from 'node:url';
import { spawnClickHouse } from '@spool/embedded';

/** A departure of the data set: from where and to where, when (milliseconds since the epoch), minutes late, miles. */
export interface Departure {
  readonly origin: string;
  readonly destination: string;
  readonly at: number;
  readonly delay: number;
  readonly miles: number;
}

/** Three million departures of 2001 (npm's `vega-datasets`), read by the embedded ClickHouse. @param most of them, from the first */
export async function* departures(dataDir: string, most: number): AsyncGenerator<Departure> {
  const file = new URL('../data/flights-3m.parquet', pathToFileURL(createRequire(import.meta.url).resolve('vega-datasets')));
  await using server = await spawnClickHouse({ dataDir });
  const agent = new Agent({ keepAlive: false });
  const ask = async (sql: string, body?: NodeJS.ReadableStream) => {
    const url = new URL(server.url);
    url.search = new URLSearchParams({ query: sql }).toString();
    const { username, password } = server.writer;
    const headers = { 'X-ClickHouse-User': username, 'X-ClickHouse-Key': password };
    const sent = request(url, { method: 'POST', agent, headers });
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
    if (body === undefined) sent.end();
    else await pipeline(body, sent);
    const [response] = await answered;
    if (response.statusCode !== 200) throw new Error(`ClickHouse: ${(await response.setEncoding('utf8').toArray()).join('')}`);
    return response;
  };
  const done = async (answer: ReturnType<typeof ask>): Promise<void> => void (await answer).resume();
  await done(ask('CREATE TABLE flights (date DateTime, delay Int32, distance Int32, origin String, destination String) ENGINE = Memory'));
  await done(ask('INSERT INTO flights FORMAT Parquet', createReadStream(file)));
  const rows = await ask(
    `SELECT origin, destination, toUnixTimestamp(date), delay, distance FROM flights ORDER BY date LIMIT ${most} FORMAT JSONCompactEachRow`,
  );
  for await (const line of createInterface({ input: rows })) {
    const [origin, destination, seconds, delay, miles] = JSON.parse(line) as [string, string, number, number, number];
    yield { origin, destination, at: seconds * 1000, delay, miles };
  }
}
