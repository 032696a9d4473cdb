import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** What one sending of a command came to, as its caller saw it. */
export type Answer =
  | { readonly kind: 'applied' | 'duplicate' }
  /** 503 before any work: the caller goes elsewhere. */
  | { readonly kind: 'refused' }
  /** No connection, so that nothing was sent. */
  | { readonly kind: 'unreachable' }
  /** The connection ended before the answer. */
  | { readonly kind: 'cut' }
  /** The gateway does not know what became of it. */
  | { readonly kind: 'indeterminate' }
  | { readonly kind: 'wrong'; readonly what: string };

export interface CommandCall {
  readonly commandId: string;
  /** In the order in which it was sent, with the gateway of each. */
  readonly attempts: readonly { readonly gateway: number; readonly answer: Answer }[];
}

export interface CallersOptions {
  /** Where the gateways listen. */
  readonly ports: readonly number[];
  readonly callers: number;
  readonly over: AbortSignal;
}

export interface Callers {
  readonly answered: number;
  /** No further command is begun; resolves with all calls when those under way are answered. */
  end(): Promise<readonly CommandCall[]>;
}

const giveUpMs = 60_000;
/** An answer that takes longer never comes: longer than a gateway waits for one. */
const silenceMs = 40_000;

type Growing = CommandCall & { readonly attempts: { readonly gateway: number; readonly answer: Answer }[] };

/** So many callers, each with one command in flight over HTTP; what is not answered is sent again under its key, to the other gateway. */
export function startCallers({ ports, callers, over }: CallersOptions): Callers {
  const agents = ports.map(() => new Agent({ keepAlive: true }));
  const calls: Growing[] = [];
  let answered = 0;
  let on = true;

  const untilAnswered = async (call: Growing, first: number): Promise<void> => {
    const until = performance.now() + giveUpMs;
    for (let gateway = first; performance.now() < until; gateway = (gateway + 1) % ports.length) {
      over.throwIfAborted();
      const answer = await post(agents[gateway]!, ports[gateway]!, call.commandId);
      call.attempts.push({ gateway, answer });
      if (answer.kind === 'applied' || answer.kind === 'duplicate' || answer.kind === 'wrong') return;
      await sleep(50);
    }
  };
  const running = Promise.all(
    Array.from({ length: callers }, async (_, index) => {
      while (on) {
        const call: Growing = { commandId: randomUUID(), attempts: [] };
        calls.push(call);
        await untilAnswered(call, index % ports.length);
        answered += 1;
      }
    }),
  );
  running.catch(() => undefined);
  return {
    get answered() {
      return answered;
    },
    async end() {
      on = false;
      await running;
      for (const agent of agents) agent.destroy();
      return calls;
    },
  };
}

/** Its id names its account too, so that each account has one event in the end. */
function post(agent: Agent, port: number, commandId: string): Promise<Answer> {
  const body = JSON.stringify({ aggregateId: commandId, payload: { events: 1 } });
  return new Promise((resolve) => {
    const sent = request({
      ...{ agent, port, host: '127.0.0.1', method: 'POST', path: '/api/v1/commands/Post', timeout: silenceMs },
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'idempotency-key': commandId },
    });
    sent.on('timeout', () => sent.destroy(new Error('no answer')));
    sent.on('error', ({ code }: NodeJS.ErrnoException) => resolve({ kind: code === 'ECONNREFUSED' ? 'unreachable' : 'cut' }));
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', () => resolve({ kind: 'cut' }));
      response.on('end', () => resolve(answerOf(response.statusCode ?? 0, Buffer.concat(chunks).toString())));
    });
    sent.end(body);
  });
}

function answerOf(status: number, text: string): Answer {
  if (status === 200) return { kind: (JSON.parse(text) as { status: 'applied' | 'duplicate' }).status };
  if (status === 503) return { kind: 'refused' };
  if (status === 504) return { kind: 'indeterminate' };
  return { kind: 'wrong', what: `${status} ${text.slice(0, 300)}` };
}
