import { until } from '@spool/schemas/testing';
import { createMemoryCluster } from '../kafka/memory/connect.js';
import { offset, type Kafka, type Offset, type Producer } from '../kafka/port.js';
import { readTable, type TableReader } from './table.js';

let kafka: Kafka;
let producer: Producer;
let table: TableReader<string>;
let errors: unknown[];
const read = (): Promise<TableReader<string>> =>
  readTable({ kafka, topic: 'rows', prefix: 'r/', onError: (error) => errors.push(error), decode: (_, value) => value.toString() });

beforeEach(async () => {
  errors = [];
  kafka = createMemoryCluster().connect();
  producer = await kafka.producer();
  await kafka.admin.ensureTopics([{ name: 'rows', partitions: 1, cleanup: 'compact', retentionMs: -1 }]);
  await put('r/a', '1');
  await put('c/0', 'checkpoint');
  table = await read();
});
afterEach(async () => {
  await table.close();
  await kafka.close();
  expect(errors).toEqual([]);
});
const put = (key: string, value: string | null): Promise<unknown> =>
  producer.send({ topic: 'rows', key, value: value === null ? null : Buffer.from(value) });
const at = (next: number): ReadonlyMap<string, Offset> => new Map([['rows-0', offset(next)]]);
const seen = (from: ReadonlyMap<string, Offset>) =>
  table.changesSince(from)?.map(({ key, value, at: place }) => [key, value, Number(place.offset)]);

describe('a table', () => {
  it('stands where its rows changed last, whatever else is on the topic', async () => {
    expect([...table.entries()]).toEqual([['r/a', '1']]);
    expect(table.changed).toEqual(at(1));
    await put('c/0', 'another checkpoint');
    await until(() => table.positions.get('rows-0') === offset(3));
    expect(table.changed).toEqual(at(1));
    await put('r/b', '2');
    await until(() => table.size === 2);
    expect(table.changed).toEqual(at(4));
  });

  it('gives the last change of each row since a position, deletions among them', async () => {
    await put('r/b', '1');
    await put('r/b', '2');
    await put('r/a', null);
    await until(() => table.size === 1 && table.get('r/b') === '2');
    expect(seen(at(1))).toEqual([
      ['r/b', '2', 3],
      ['r/a', undefined, 4],
    ]);
    expect(seen(at(4))).toEqual([['r/a', undefined, 4]]);
    expect(seen(at(5))).toEqual([]);
  });

  it('knows the deletions that happened before it was read, and says when it has forgotten some', async () => {
    await put('r/a', null);
    await table.close();
    table = await read();
    expect(seen(at(0))).toEqual([['r/a', undefined, 2]]);
    const many = Array.from({ length: 10_001 }, (_, n) => ({ topic: 'rows', key: `r/${n}`, value: null }));
    await producer.sendAll(many);
    await until(() => table.positions.get('rows-0') === offset(3 + many.length));
    expect(seen(at(0))).toBeUndefined();
    expect(seen(at(13_000))).toEqual([]);
    expect(seen(at(4))?.length).toBe(10_000);
  });
});
