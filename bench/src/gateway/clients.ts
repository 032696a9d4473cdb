import { connect } from 'node:net';
import { WebSocket } from 'ws';
import { clock, type ClientsConfig, type Received } from './protocol.js';

const { kind, port, count } = JSON.parse(process.argv[2]!) as ClientsConfig;
let at = new Float64Array(count);
let received = 0;
const note = (client: number, bytes: number): void => {
  at[client] = clock();
  received += 1;
  if (received < count) return;
  process.send!({ at, bytes } satisfies Received);
  at = new Float64Array(count);
  received = 0;
};
const failed = (error: Error): void => {
  console.error(`a client has failed: ${error.message}`);
  process.exit(1);
};

/** Resolves when it is at the present. */
function sse(client: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write('GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n');
    });
    socket.once('data', () => {
      resolve();
    });
    socket.on('data', (chunk: Buffer) => {
      if (chunk.includes('event: event\n')) note(client, chunk.length);
    });
    socket.on('error', failed);
  });
}
function webSocket(client: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/api/v1/stream`, 'spool.v1', { perMessageDeflate: false });
    socket.on('open', () => {
      socket.send('{"type":"subscribe","id":"1"}');
    });
    socket.on('message', (data: Buffer) => {
      if (data.includes('"type":"event"')) note(client, data.length);
      else if (data.includes('"type":"position"')) resolve();
    });
    socket.on('error', failed);
  });
}

const open = kind === 'SSE' ? sse : webSocket;
// Few at a time: a burst beyond the backlog of the listener would wait for seconds.
const batch = 100;
for (let first = 0; first < count; first += batch) {
  await Promise.all(Array.from({ length: Math.min(batch, count - first) }, (_, n) => open(first + n)));
}
process.send!('open');
process.on('message', () => process.exit(0));
