import { differences, type Evidence } from './check.js';

/** Two keys, three records: all is well. */
const good: Evidence = {
  sent: new Map([
    ['a', 2],
    ['b', 1],
  ]),
  outputs: new Map([
    ['a', [1, 2]],
    ['b', [1]],
  ]),
  tasks: [
    {
      task: '0',
      changes: [
        { offset: 0n, key: 'a', count: 1 },
        { offset: 2n, key: 'a', count: 2 },
        { offset: 3n, key: 'b', count: 1 },
      ],
      stores: [
        { instance: 'one', position: 2n, rows: new Map([['a', 1]]) },
        {
          instance: 'two',
          position: 5n,
          rows: new Map([
            ['a', 2],
            ['b', 1],
          ]),
        },
      ],
    },
  ],
};
const withOutput = (a: readonly number[]): Evidence => ({ ...good, outputs: new Map(good.outputs).set('a', a) });
const withStores = (stores: Evidence['tasks'][number]['stores']): Evidence => ({ ...good, tasks: [{ ...good.tasks[0]!, stores }] });

describe('the check of a keyed count', () => {
  it('finds nothing where each record was counted once', () => {
    expect(differences(good)).toEqual([]);
  });

  it.each([
    ['a lost result', withOutput([2]), 'output: 1 of 2 results of a are lost, the first is 1'],
    ['a doubled result', withOutput([1, 2, 2]), 'output: 1 results of a are doubled'],
    ['results out of order', withOutput([2, 1]), 'output: results of a are out of order'],
    ['a count too high', withOutput([1, 2, 3]), 'output: a is counted to 3, and was sent 2 times'],
    ['a key from nowhere', { ...good, outputs: new Map([...good.outputs, ['c', [1]]]) }, 'output: c was never sent'],
    [
      'a changelog that counts otherwise',
      { ...good, sent: new Map([...good.sent, ['b', 1], ['a', 1]]) },
      'changelog: a is 2 and should be 1',
    ],
    [
      'a store that is not what the changelog says',
      withStores([good.tasks[0]!.stores[1]!, { instance: 'one', position: 2n, rows: new Map([['a', 2]]) }]),
      'store of task 0 on one: a is 2 and should be 1',
    ],
    ['a task of which no store is complete', withStores([good.tasks[0]!.stores[0]!]), 'no store of task 0 has the whole changelog'],
  ])('finds %s', (_, evidence, sentence) => {
    expect(differences(evidence)).toContain(sentence);
  });
});
