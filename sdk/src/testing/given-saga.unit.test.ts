import { record } from '@spool/schemas';
import { aggregate } from '../aggregate/aggregate.js';
import { only } from '../messages.js';
import { saga } from '../saga/saga.js';
import { givenSaga } from './given-saga.js';

const Stock = aggregate('Stock', {
  commands: { Reserve: record('kit.Reserve', { pieces: 'int' }), Release: record('kit.Release', { pieces: 'int' }) },
  events: {},
  initial: () => 0,
  decide: { Reserve: () => [], Release: () => [] },
  evolve: {},
});
const Order = aggregate('Order', {
  commands: { Confirm: record('kit.Confirm', {}) },
  events: { Placed: record('kit.Placed', { item: 'string', pieces: 'int' }), Cancelled: record('kit.Cancelled', {}) },
  initial: () => 0,
  decide: { Confirm: () => [] },
  evolve: { Placed: (state) => state, Cancelled: (state) => state },
});
const Orders = saga('Orders', {
  of: [Order],
  sends: [Stock, only(Order, 'Confirm')],
  initial: () => ({ reserved: 0 }),
  on: {
    Placed: {
      starts: true,
      by: (_, { aggregateId }) => aggregateId,
      react(_, { item, pieces }, step) {
        const undo = { target: Stock, type: 'Release', id: item, payload: { pieces } } as const;
        step.send(Stock, 'Reserve', item, { pieces }, { undo });
        step.schedule('overdue', { afterMs: 1000 });
      },
    },
    Cancelled: {
      by: (_, { aggregateId }) => aggregateId,
      react(_state, _event, step) {
        step.compensate();
        step.end();
      },
    },
  },
  onOutcome: { Reserve: ({ reserved }, { status }) => ({ reserved: reserved + (status === 'applied' ? 1 : 0) }) },
  timers: { overdue: (_, step) => step.send(Order, 'Confirm', step.id, {}) },
});
const placed = (aggregateId = 'o1', pieces = 2) => ({ type: 'Placed', data: { item: 'nut', pieces }, aggregateId });
const cancelled = { type: 'Cancelled', data: {}, aggregateId: 'o1' };
const reserve = { target: Stock, type: 'Reserve', id: 'nut', payload: { pieces: 2 } };
const release = { ...reserve, type: 'Release' };
const confirm = (id: string) => ({ target: Order, type: 'Confirm', id, payload: {} });

describe('given a saga', () => {
  it('when an event, an outcome or an end, then the commands, the state, and what undoes them', () => {
    givenSaga(Orders)
      .when(placed())
      .thenSends(reserve)
      .whenOutcome('Reserve', 'nut')
      .thenSends()
      .thenState({ reserved: 1 })
      .when(cancelled)
      .thenSends(release)
      .thenEnded();
    givenSaga(Orders)
      .events(placed())
      .whenOutcome('Reserve', 'nut', { status: 'rejected', code: 'SOLD_OUT' })
      .thenState({ reserved: 0 })
      .when(cancelled)
      .thenSends();
  });

  it('when time passes, then its timers fire, each at its time', () => {
    const two = givenSaga(Orders, { now: 5000 })
      .events(placed('o2'))
      .whenTimePasses(500)
      .thenSends()
      .when(placed('o1'))
      .thenTimers({ overdue: 6500 }, 'o1');
    two
      .whenTimePasses(499)
      .thenSends()
      .whenTimePasses(1)
      .thenSends(confirm('o2'))
      .whenTimePasses(1000)
      .thenSends(confirm('o1'))
      .thenTimers({}, 'o1');
  });

  it('shows what is otherwise', () => {
    const scenario = givenSaga(Orders).when(placed());
    expect(() => scenario.thenSends()).toThrow(/the commands of Orders[^]*Reserve/);
    expect(() => scenario.thenSends({ ...reserve, payload: { pieces: 3 } })).toThrow(/pieces: 2[^]*pieces: 3/);
    expect(() => scenario.thenState({ reserved: 7 })).toThrow(/the state of Orders/);
    expect(() => scenario.thenEnded()).toThrow(/whether Orders has ended/);
    expect(() => scenario.whenOutcome('Release', 'nut')).toThrow('Orders awaits no outcome of Release nut; it awaits Reserve nut');
    expect(() => scenario.events(placed('o2')).thenState({})).toThrow('Orders has several instances: say which of o1, o2');
    expect(() => givenSaga(Orders).when(cancelled).thenState({})).toThrow('Orders has no instance');
  });

  it('refuses what Kafka would refuse, and finds out what is not pure', () => {
    expect(() => givenSaga(Orders).when(placed('o1', 1.5))).toThrow(expect.objectContaining({ code: 'INVALID_PAYLOAD' }) as Error);
    expect(() => givenSaga(Orders).when({ type: 'Shipped', data: {} })).toThrow('Shipped is not among the events of Order');
    const impure = (react: (state: { n: number }) => { n: number } | undefined) =>
      givenSaga(saga('Impure', { of: [Order], initial: () => ({ n: 0 }), on: { Placed: { starts: true, by: () => 'a', react } } }));
    let calls = 0;
    expect(() => impure(() => ({ n: ++calls })).when(placed())).toThrow('Impure does otherwise when the step runs again');
    const changes = impure((state) => {
      state.n += 1;
      return state;
    });
    expect(() => changes.when(placed()).when(placed())).toThrow(/Impure on Placed changes what it is given/);
  });
});
