import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}
export interface Connections {
  /** @throws Error when the connection ends before the answer */
  request(bytes: Buffer): Promise<Answer>;
  close(): void;
}

interface Waiting {
  readonly bytes: Buffer;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

const batch = 32;
const greeting = Buffer.from('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n');

/**
 * Keep-alive connections with one request in flight each; a request that finds none waits for one. It reads what a gateway answers and no other HTTP, since
 * on a small machine a caller that costs little measures most. Resolves when all are open and have had an answer: what a connection costs is not what is
 * measured, and Node accepts but one in each turn of its loop.
 */
export async function openConnections(port: number, count: number): Promise<Connections> {
  const free: Connection[] = [];
  const all = new Set<Connection>();
  const queue: Waiting[] = [];

  interface Connection {
    readonly socket: Socket;
    asked: Waiting | undefined;
    chunks: Buffer[];
  }
  const ask = (connection: Connection, waiting: Waiting): void => {
    connection.asked = waiting;
    connection.socket.write(waiting.bytes);
  };
  const open = (): Connection => {
    const connection: Connection = { socket: connect({ port, host: '127.0.0.1', noDelay: true }), asked: undefined, chunks: [] };
    all.add(connection);
    connection.socket.on('data', (chunk: Buffer) => {
      connection.chunks.push(chunk);
      const answer = whole(connection.chunks.length === 1 ? chunk : Buffer.concat(connection.chunks));
      if (answer === undefined) return;
      const { asked } = connection;
      connection.chunks = [];
      connection.asked = undefined;
      const next = queue.shift();
      if (next === undefined) free.push(connection);
      else ask(connection, next);
      asked?.resolve(answer);
    });
    const ended = (error?: Error): void => {
      all.delete(connection);
      const at = free.indexOf(connection);
      if (at >= 0) free.splice(at, 1);
      connection.asked?.reject(error ?? new Error('the connection was cut'));
      connection.asked = undefined;
    };
    connection.socket.on('error', ended);
    connection.socket.on('close', () => ended());
    return connection;
  };
  while (all.size < count) {
    const greeted = Array.from({ length: Math.min(batch, count - all.size) }, () => {
      const connection = open();
      return new Promise((resolve, reject) => ask(connection, { bytes: greeting, resolve, reject }));
    });
    await Promise.all(greeted);
  }
  return {
    request: (bytes) =>
      new Promise((resolve, reject) => {
        const waiting = { bytes, resolve, reject };
        const connection = free.pop();
        if (connection === undefined) queue.push(waiting);
        else ask(connection, waiting);
      }),
    close() {
      for (const { socket } of all) socket.destroy();
    },
  };
}

/** The answer, when all of it is there. */
function whole(bytes: Buffer): Answer | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = bytes.toString('latin1', 0, end);
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
  if (Number.isNaN(length)) throw new Error(`an answer without its length: ${head}`);
  if (bytes.length < end + 4 + length) return undefined;
  return { status: Number(head.slice(9, 12)), body: bytes.subarray(end + 4, end + 4 + length) };
}
