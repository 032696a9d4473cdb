import { createSlots } from './slots.js';

const never = new AbortController().signal;

describe('slots', () => {
  it('let so many in, and the next ones in turn', async () => {
    const slots = createSlots({ concurrency: 1, waiting: 2, waitMs: 10_000 });
    const leave = await slots.take(never);
    const order: number[] = [];
    const second = slots.take(never).then((done) => (order.push(2), done));
    const third = slots.take(never).then((done) => (order.push(3), done));
    leave();
    leave(); // a second call gives nothing back
    const leaveSecond = await second;
    await new Promise(setImmediate);
    expect(order).toEqual([2]);
    leaveSecond();
    (await third)();
    expect(order).toEqual([2, 3]);
    (await slots.take(never))();
  });

  it('refuse with 202 and 503 when the queue is full or the wait too long', async () => {
    const slots = createSlots({ concurrency: 1, waiting: 1, waitMs: 20 });
    await slots.take(never);
    const waiting = slots.take(never);
    await expect(slots.take(never)).rejects.toMatchObject({ code: 202, status: 503 });
    await expect(waiting).rejects.toMatchObject({ code: 202, message: expect.stringContaining('no place within 20 ms') as string });
  });

  it('forget who went away while waiting', async () => {
    const slots = createSlots({ concurrency: 1, waiting: 1, waitMs: 10_000 });
    const leave = await slots.take(never);
    const gone = new AbortController();
    const waiting = slots.take(gone.signal);
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: 394 });
    const next = slots.take(never);
    leave();
    (await next)();
  });
});
