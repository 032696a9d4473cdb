import { setTimeout as sleep } from 'node:timers/promises';

/** What of a replay is looked at here. */
export interface Replay {
  readonly id: string;
  readonly state: string;
  readonly progress: number;
  readonly error: string | null;
}
export interface Report {
  readonly equal: boolean;
}
type Order = 'throttle' | 'promote' | 'rollback' | 'drop';

/** What an order leads to: one that was obeyed and not answered is not asked for again. */
const leadsTo: Readonly<Partial<Record<Order, readonly string[]>>> = {
  promote: ['promoting', 'completed'],
  rollback: ['rollingBack', 'rolledBack'],
};
const attemptMs = 5000;

/** The replay service as a caller has it who does not give up while it is away. */
export class ReplayClient {
  constructor(
    private readonly url: string,
    private readonly over: AbortSignal,
  ) {}

  start(key: string, body: { readonly mode: string; readonly target: string; readonly rate: number }): Promise<Replay> {
    return this.#ask('POST', '', { 'idempotency-key': key }, { ...body, reason: 'chaos' });
  }
  get(id: string): Promise<Replay> {
    return this.#ask('GET', `/${id}`);
  }
  report(id: string): Promise<Report> {
    return this.#ask('GET', `/${id}/report`);
  }

  async order(id: string, order: Order, body?: object): Promise<void> {
    try {
      await this.#ask('POST', `/${id}/${order}`, {}, body);
    } catch (refused) {
      const { state } = await this.get(id);
      // A limit is lifted of what may have ended by then.
      if (order !== 'throttle' && leadsTo[order]?.includes(state) !== true) throw refused;
    }
  }

  /** @throws Error when it comes to another end */
  async reached(id: string, wanted: string, test: (replay: Replay) => boolean = ({ state }) => state === wanted): Promise<Replay> {
    for (;;) {
      const replay = await this.get(id);
      if (test(replay)) return replay;
      if (['failed', 'cancelled'].includes(replay.state)) throw new Error(`replay ${id} has ${replay.state}: ${replay.error}`);
      await sleep(50, undefined, { signal: this.over });
    }
  }

  async #ask<T>(method: string, path: string, headers: Readonly<Record<string, string>> = {}, body?: object): Promise<T> {
    for (;;) {
      this.over.throwIfAborted();
      const answer = await fetch(`${this.url}/api/v1/replays${path}`, {
        method,
        headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(attemptMs),
      }).catch(() => undefined);
      if (answer !== undefined && answer.status < 300) return (await answer.json()) as T;
      // Away, overloaded, or without Kafka for now; the target may not be registered anew yet.
      if (answer !== undefined && answer.status < 500 && answer.status !== 429)
        throw new Error(`${method} ${path}: ${await answer.text()}`);
      await sleep(100, undefined, { signal: this.over });
    }
  }
}
