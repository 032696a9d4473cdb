import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Resolves when the plaintext listener at `port` lists `nodeId` among the brokers that serve. A bare connection would not
 * do: the listener opens before the broker has registered and is unfenced.
 * @throws when `signal` aborts.
 */
export async function untilBrokerServes(port: number, nodeId: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const nodes = await liveBrokers(port).catch((): readonly number[] => []);
    if (nodes.includes(nodeId)) return;
    await sleep(50, undefined, { signal });
  }
}

const answerTimeoutMs = 2_000;

/** The node ids in the answer to a Metadata request, version 1, for no topic. */
export async function liveBrokers(port: number): Promise<readonly number[]> {
  const answer = await exchange(port, metadataRequest());
  // Correlation id, then an array of brokers: node id, host, port, rack.
  let at = 4;
  const count = answer.readInt32BE(at);
  at += 4;
  const nodes: number[] = [];
  for (let index = 0; index < count; index += 1) {
    nodes.push(answer.readInt32BE(at));
    at += 4;
    at += 2 + answer.readInt16BE(at);
    at += 4;
    at += 2 + Math.max(0, answer.readInt16BE(at));
  }
  return nodes;
}

function metadataRequest(): Buffer {
  const client = Buffer.from('spool-probe');
  const request = Buffer.alloc(4 + 2 + 2 + 4 + 2 + client.length + 4);
  let at = request.writeInt32BE(request.length - 4, 0);
  at = request.writeInt16BE(3, at); // Metadata
  at = request.writeInt16BE(1, at); // version
  at = request.writeInt32BE(1, at); // correlation id
  at = request.writeInt16BE(client.length, at);
  at += client.copy(request, at);
  request.writeInt32BE(0, at); // no topics
  return request;
}

/** Sends one request and gives the body of the answer. */
function exchange(port: number, request: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' });
    let received = Buffer.alloc(0);
    socket.setTimeout(answerTimeoutMs, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => socket.write(request));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      if (received.length < 4 || received.length < 4 + received.readInt32BE(0)) return;
      resolve(received.subarray(4));
      socket.destroy();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the broker closed the connection')));
  });
}
