import { arrayOf, record } from '@spool/schemas';
import { aggregate } from '../aggregate/aggregate.js';
import { only } from '../messages.js';
import { saga } from './saga.js';
import { stepSaga, type SagaInput, type SagaRow, type SagaStepped } from './step.js';

const Stock = aggregate('Stock', {
  commands: {
    Reserve: record('shop.Reserve', { pieces: 'int' }),
    Release: record('shop.Release', { pieces: 'int' }),
    Count: record('shop.Count', {}),
  },
  events: { Reserved: record('shop.Reserved', { order: 'string' }) },
  initial: () => 0,
  decide: { Reserve: () => [], Release: () => [], Count: () => [] },
  evolve: { Reserved: (state) => state },
});
const Order = aggregate('Order', {
  commands: { Confirm: record('shop.Confirm', {}) },
  events: {
    Placed: record('shop.Placed', { items: arrayOf('string') }),
    Cancelled: record('shop.Cancelled', {}),
    Told: record('shop.Told', {}),
  },
  initial: () => 0,
  decide: { Confirm: () => [] },
  evolve: { Placed: (state) => state, Cancelled: (state) => state, Told: (state) => state },
});

interface State {
  readonly seen: readonly string[];
}
const Orders = saga('Orders', {
  of: [Order, Stock],
  sends: [only(Stock, 'Reserve', 'Release'), Order],
  initial: (): State => ({ seen: [] }),
  on: {
    Placed: {
      starts: true,
      by: (_, { aggregateId }) => aggregateId,
      react({ seen }, { items }, step) {
        for (const item of items) {
          const undo = { target: Stock, type: 'Release', id: item, payload: { pieces: 1 } } as const;
          step.send(Stock, 'Reserve', item, { pieces: 1 }, { undo });
        }
        step.schedule('overdue', { afterMs: 1000 });
        return { seen: [...seen, step.newId(), step.newId()] };
      },
    },
    Cancelled: {
      by: (_, { aggregateId }) => aggregateId,
      react(_state, _event, step) {
        step.compensate();
        step.end();
      },
    },
    Told: { by: (_, { aggregateId }) => aggregateId, react: ({ seen }) => ({ seen: [...seen, 'told'] }) },
  },
  onOutcome: {
    Reserve: ({ seen }, { status, code, key }) => ({ seen: [...seen, `${key} ${status} ${code}`] }),
  },
  timers: {
    overdue(_, step) {
      step.send(Order, 'Confirm', step.id, {});
      step.schedule('overdue', { at: step.at + 5 });
    },
  },
});

const event = (type: string, data: unknown = {}): SagaInput => ({
  kind: 'event',
  type,
  data,
  context: {
    source: 'Order',
    eventId: `e-${type}`,
    aggregateId: 'o1',
    version: 1,
    at: 5000,
    replayId: undefined,
    correlationId: undefined,
  },
  meta: { correlationId: 'flow', actor: 'ada' },
});
const outcome = (n: number, status: 'applied' | 'rejected', code = ''): SagaInput => ({
  kind: 'outcome',
  at: 6000,
  meta: {},
  outcome: { commandId: `Orders/o1/1/${n}`, status, code, detail: '', version: 1 },
});
const run = (...inputs: readonly SagaInput[]): (SagaStepped | undefined)[] => {
  let row: SagaRow | undefined;
  return inputs.map((input) => {
    const stepped = stepSaga(Orders, 'o1', row, input);
    row = stepped?.row ?? row;
    return stepped;
  });
};
const placed = event('Placed', { items: ['nut', 'bolt', 'pin'] });
const sent = (stepped: SagaStepped | undefined): string[] => (stepped?.commands ?? []).map(({ id, type, key }) => `${id} ${type} ${key}`);

it('gives the same step for the same input: ids of commands, fresh ids and timers', () => {
  const [first] = run(placed);
  expect(run(placed)).toEqual([first]);
  expect(sent(first)).toEqual(['Orders/o1/1/0 Reserve nut', 'Orders/o1/1/1 Reserve bolt', 'Orders/o1/1/2 Reserve pin']);
  expect(first!.timers).toEqual({ set: { overdue: 6000 }, cancelled: [] });
  const { seen } = first!.state as State;
  expect(new Set(seen).size).toBe(2);
  expect(first!.meta).toEqual({ correlationId: 'flow', actor: 'ada' });
});

it('begins with an event that starts it, and passes others over', () => {
  expect(run(event('Told'), event('Cancelled'), outcome(0, 'applied'), event('Unknown'))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  expect(run(placed, event('Told'))[1]!.row.version).toBe(2);
});

it('undoes what was applied, the last one first, and what is still on its way when it has been applied', () => {
  const steps = run(placed, outcome(0, 'applied'), outcome(1, 'applied'), event('Cancelled'), event('Told'), outcome(2, 'applied'));
  expect(sent(steps[3])).toEqual(['Orders/o1/4/0 Release bolt', 'Orders/o1/4/1 Release nut']);
  expect(steps[3]!.commands.map(({ compensates }) => compensates)).toEqual(['Orders/o1/1/1', 'Orders/o1/1/0']);
  expect(steps[3]!.row).toMatchObject({ ended: true, state: null, timers: {}, pending: { 'Orders/o1/1/2': { key: 'pin' } } });
  expect(steps[3]!.timers).toEqual({ set: {}, cancelled: ['overdue'] });
  expect(steps[4]).toBeUndefined();
  expect(sent(steps[5])).toEqual(['Orders/o1/5/0 Release pin']);
  expect(steps[5]!.row).toMatchObject({ version: 5, pending: {}, undo: [] });
});

it('does not undo what was rejected, and tells of the rejection', () => {
  const steps = run(placed, outcome(0, 'rejected', 'SOLD_OUT'), outcome(1, 'applied'), outcome(1, 'applied'), event('Cancelled'));
  expect((steps[1]!.state as State).seen.at(-1)).toBe('nut rejected SOLD_OUT');
  expect(steps[3]).toBeUndefined();
  expect(sent(steps[4])).toEqual(['Orders/o1/4/0 Release bolt']);
  expect(run(placed, event('Cancelled'), outcome(0, 'rejected'))[2]!.commands).toEqual([]);
});

it('fires a timer once, and lets it set itself again', () => {
  const timer: SagaInput = { kind: 'timer', name: 'overdue', due: 6000, at: 7000 };
  const [, first, second] = run(placed, timer, { ...timer, at: 7005 });
  expect(sent(first)).toEqual(['Orders/o1/2/0 Confirm o1']);
  expect(first!.step).toEqual({ kind: 'timer', type: 'overdue', id: 'overdue@1970-01-01T00:00:06.000Z', at: 7000 });
  expect(first!.timers).toEqual({ set: { overdue: 7005 }, cancelled: [] });
  expect(first!.meta).toEqual({ correlationId: 'flow', actor: 'ada' });
  expect(second!.row.version).toBe(3);
  expect(run(placed, event('Cancelled'), timer)[2]).toBeUndefined();
});

it('refuses at run time what the compiler would not have let through', () => {
  const Rogue = saga('Rogue', {
    of: [Order],
    initial: () => 0,
    on: {
      Placed: {
        starts: true,
        by: () => 'x',
        react: (_, __, step) => (step.send as (...given: unknown[]) => void)(Stock, 'Count', 'x', {}),
      },
    },
  });
  expect(() => stepSaga(Rogue, 'x', undefined, placed)).toThrow('does not declare that it sends Count to Stock');
});

it('does not compile when it sends what it may not, hears of what it does not send, or reacts to what does not exist', () => {
  const wrong = (): void => {
    saga('Wrong', {
      of: [Order],
      sends: [only(Stock, 'Reserve')],
      initial: () => ({ n: 0 }),
      on: {
        Placed: {
          by: (_, { aggregateId }) => aggregateId,
          react(state, event, step) {
            step.send(Stock, 'Reserve', 'a', { pieces: 1 });
            // @ts-expect-error not among the commands that it declares
            step.send(Stock, 'Count', 'a', {});
            // @ts-expect-error not among the targets that it declares
            step.send(Order, 'Confirm', 'a', {});
            // @ts-expect-error another payload
            step.send(Stock, 'Reserve', 'a', { boxes: 1 });
            // @ts-expect-error what undoes it is held to the same
            step.send(Stock, 'Reserve', 'a', { pieces: 1 }, { undo: { target: Stock, type: 'Release', id: 'a', payload: { pieces: 1 } } });
            // @ts-expect-error no such timer
            step.schedule('late', { at: 1 });
            step.schedule('early', { at: 1 });
            // @ts-expect-error no such field
            if (event.nothing === undefined) return undefined;
            return { n: state.n + event.items.length };
          },
        },
        // @ts-expect-error no source has such an event
        Shipped: { by: () => 'a', react: () => undefined },
      },
      onOutcome: {
        Reserve: () => undefined,
        // @ts-expect-error it does not send that
        Release: () => undefined,
      },
      timers: { early: () => undefined },
    });
    saga('WrongState', {
      of: [Order],
      initial: () => ({ n: 0 }),
      on: {
        // @ts-expect-error another state
        Placed: { by: () => 'a', react: () => ({ m: 1 }) },
      },
    });
  };
  expect(wrong).not.toThrow();
});
