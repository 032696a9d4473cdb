import { flowOf } from './flow.js';
import { treesOf, type TraceNode, type TraceSpan } from './trace-tree.js';

let count = 0;
const span = (handler: string, messageId: string, more: Partial<TraceSpan> = {}): TraceSpan => ({
  ...{ traceId: 't1', spanId: `s${++count}`, parentSpanId: 'outside', messageId, causationId: '', source: '', bundle: 'bank' },
  ...{ instance: 'bank-0', component: handler.split('.')[0]!, handler, messageKind: 'event', payloadType: handler.split('.')[1]! },
  ...{ aggregateId: 'a', startedAt: count, queueUs: 1000, handleUs: 2000, commitUs: 3000, totalUs: 6000, status: 'ok', outcome: '' },
  ...{ errorClass: '', isReplay: false, weight: 1 },
  ...more,
});
const outline = (nodes: readonly TraceNode[]): unknown => nodes.map(({ span: { handler }, children }) => [handler, outline(children)]);

/** A withdrawal; the ledger notes it, and in a share of the cases the saga deposits. */
const transfer = (traceId: string, deposits: boolean, weight = 1): TraceSpan[] => [
  span('Account.Withdraw', `${traceId}/w`, { traceId, weight, messageKind: 'command' }),
  span('Ledger.Withdrawn', `${traceId}/e`, { traceId, weight, causationId: `${traceId}/w`, source: 'bank/Account' }),
  span('Transfer.Withdrawn', `${traceId}/e`, { traceId, weight, causationId: `${traceId}/w`, source: 'bank/Account', handleUs: 8000 }),
  ...(deposits ? [span('Account.Deposit', `${traceId}/d`, { traceId, weight, causationId: `${traceId}/e`, source: 'bank/Transfer' })] : []),
];

describe('the tree of a trace', () => {
  it('puts each message below the one that caused it, in the hands of the one that sent it', () => {
    expect(outline(treesOf(transfer('t1', true).toReversed()))).toEqual([
      [
        'Account.Withdraw',
        [
          ['Ledger.Withdrawn', []],
          ['Transfer.Withdrawn', [['Account.Deposit', []]]],
        ],
      ],
    ]);
  });

  it('takes what has no known cause, and what goes in a circle, for roots, and loses nothing', () => {
    const circle = [span('A.X', 'x', { causationId: 'y' }), span('B.Y', 'y', { causationId: 'x' })];
    const lost = span('C.Z', 'z', { causationId: 'unknown' });
    const self = span('D.V', 'v', { causationId: 'v' });
    const trees = treesOf([...circle, lost, self]);
    const size = (nodes: readonly TraceNode[]): number => nodes.reduce((sum, { children }) => sum + 1 + size(children), 0);
    expect(size(trees)).toBe(4);
  });
});

describe('the flow of messages', () => {
  const traces = [
    ...Array.from({ length: 6 }, (_, index) => transfer(`a${index}`, true)).flat(),
    ...Array.from({ length: 2 }, (_, index) => transfer(`b${index}`, false, 2)).flat(),
  ];

  it('tells how many came of each message, with what probability, and how long each took, by weight', () => {
    const { paths, unplaced } = flowOf(traces, 10, 0.5);
    const of = (...path: string[]) => paths.find((each) => each.path.join() === path.join());
    expect(paths).toHaveLength(4);
    expect(unplaced).toBe(0);
    expect(of('Account.Withdraw')).toMatchObject({ messages: 20, perSecond: 2, perMessage: 1, probability: 1 });
    expect(of('Account.Withdraw', 'Transfer.Withdrawn')).toMatchObject({ perMessage: 1, service: { p50: 8, p95: 8, p99: 8 } });
    const deposit = of('Account.Withdraw', 'Transfer.Withdrawn', 'Account.Deposit');
    expect(deposit).toMatchObject({ messages: 12, perMessage: 0.6, probability: 0.6, queue: { p50: 1 }, commit: { p99: 3 } });
  });

  it('counts several effects of one message, leaves replays out, and does not place what has lost its cause', () => {
    const twice = [
      ...transfer('t', true),
      span('Account.Deposit', 't/d2', { traceId: 't', causationId: 't/e', source: 'bank/Transfer', status: 'error' }),
      span('Ledger.Withdrawn', 't/e', { traceId: 't', causationId: 't/w', source: 'bank/Account', isReplay: true }),
      span('Audit.Seen', 't/x', { traceId: 't', causationId: 'never seen', weight: 5 }),
    ];
    const { paths, unplaced } = flowOf(twice, 1);
    expect(unplaced).toBe(5);
    expect(paths.find(({ path }) => path.at(-1) === 'Account.Deposit')).toMatchObject({ perMessage: 2, probability: 1, errorRate: 0.5 });
    expect(paths.find(({ path }) => path.at(-1) === 'Ledger.Withdrawn')).toMatchObject({ messages: 1 });
  });

  it('follows a loop of messages only so far', () => {
    const loop = Array.from({ length: 40 }, (_, index) =>
      span('Loop.Again', `m${index}`, index === 0 ? {} : { causationId: `m${index - 1}` }),
    );
    expect(flowOf(loop, 1).paths).toHaveLength(12);
  });
});
