import { readFileSync } from 'node:fs';
import { offset, type ConsumedRecord } from '@spool/streams';
import { countValue, createAnswers, inputRecord, joinedValue, keyOf, tableRecord } from './workload.js';

const result = (key: string, value: Buffer): ConsumedRecord => ({
  topic: 'output',
  partition: 0,
  offset: offset(0),
  key: Buffer.from(key),
  value,
  headers: {},
  timestamp: 0,
});
const counted = (key: string, count: number) => result(key, countValue(count));

describe('the answers to a workload', () => {
  it('are matched to the inputs that they answer', () => {
    const answers = createAnswers('count');
    for (const key of ['a', 'b', 'a']) answers.expect(key);
    expect([counted('a', 1), counted('a', 2), counted('b', 1)].map((record) => answers.take(record))).toEqual([[0], [2], [1]]);
    expect([answers.answered, answers.expected]).toEqual([3, 3]);
  });

  it('may stand for earlier ones of their key where a cache leaves them out', () => {
    const answers = createAnswers('count', true);
    for (const key of ['a', 'a', 'a']) answers.expect(key);
    expect([answers.take(counted('a', 2)), answers.take(counted('a', 3))]).toEqual([[0, 1], [2]]);
    expect(() => answers.take(counted('a', 3))).toThrow('came twice');
  });

  it('are refused when one comes twice, counts too far or is joined with another row', () => {
    const counts = createAnswers('count');
    counts.expect('a');
    counts.take(counted('a', 1));
    expect(() => counts.take(counted('a', 1))).toThrow('two results');
    expect(() => counts.take(counted('a', 2))).toThrow('counted to 2');
    const joins = createAnswers('join');
    const key = keyOf(0, 10);
    joins.expect(key);
    const input = inputRecord('input', 0, 10).value!;
    expect(() => joins.take(result(key, joinedValue(input, tableRecord('table', 11).value!)))).toThrow('not joined');
    expect(joins.take(result(key, joinedValue(input, tableRecord('table', Number(key.slice(1))).value!)))).toEqual([0]);
  });
});

describe('Kafka Streams, the peer', () => {
  it('has the version of the broker', () => {
    const version = (pom: string) => /<kafka.version>(.*)<\//.exec(readFileSync(new URL(`../../../${pom}`, import.meta.url), 'utf8'))?.[1];
    expect(version('bench/peers/kafka-streams/pom.xml')).toBe(version('infra/embedded/kafka/pom.xml'));
  });
});
