import { jest } from '@jest/globals';
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js';
import { patchRequestQueue } from './request-queue.js';

const newQueue = () =>
  new RequestQueue({
    maxInFlightRequests: null,
    requestTimeout: 10_000,
    enforceRequestTimeout: true,
    clientId: 'test',
    broker: 'test:9092',
    logger: { debug: () => undefined },
  });
const request = (correlationId: number, sendRequest: () => void) => ({
  entry: { correlationId, apiName: 'Test', apiKey: 0, apiVersion: 0, resolve: () => undefined, reject: () => undefined },
  expectResponse: true,
  sendRequest,
});

describe("kafkajs' request queue", () => {
  beforeAll(patchRequestQueue);
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  it('sleeps when nothing waits, where it would wake about 900 times a second', () => {
    const queue = newQueue();
    queue.push(request(1, () => undefined));
    queue.fulfillRequest({ correlationId: 1, payload: Buffer.alloc(0), size: 0 });
    expect(jest.getTimerCount()).toBe(0);
    queue.checkPendingRequests();
    jest.advanceTimersByTime(1_000);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('sends what a throttle held back, once it is over', () => {
    const queue = newQueue();
    queue.throttledUntil = Date.now() + 200;
    const sent: number[] = [];
    queue.push(request(1, () => sent.push(1)));
    queue.push(request(2, () => sent.push(2)));
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(150);
    expect(sent).toEqual([]);
    jest.advanceTimersByTime(60);
    expect(sent).toEqual([1, 2]);
    expect(jest.getTimerCount()).toBe(0);
  });
});
