import { SpoolError } from '@spool/schemas';
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A port that something of ours wants to listen on, and the variable that moves it. */
export interface WantedPort {
  /** Who wants it, such as `Kafka`. */
  readonly name: string;
  readonly port: number;
  readonly variable: string;
}

/**
 * Checks on loopback that nobody listens on any of the ports.
 * @param waitMs how long to wait for ports to become free, for children of a platform that was killed a moment ago. @default 0
 * @throws SpoolError PORT_IN_USE, naming every port that is taken and its variable.
 */
export async function assertPortsFree(wanted: readonly WantedPort[], waitMs = 0): Promise<void> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const free = await Promise.all(wanted.map(({ port }) => isPortFree(port)));
    const taken = wanted.filter((_, index) => free[index] === false);
    if (taken.length === 0) return;
    if (performance.now() >= deadline) throw new SpoolError('PORT_IN_USE', taken.map(sentence).join(' '));
    await sleep(200);
  }
}

const sentence = ({ name, port, variable }: WantedPort): string =>
  `Port ${port} for ${name} is in use; stop what listens there or set ${variable} to another port.`;

function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Below the range from which systems take the near end of outgoing connections, so that nothing slips in while a child is down between two runs. */
const lowest = 20_000;
const highest = 32_000;
const stretch = 50;
let drawn = 0;

/**
 * Ports that are free now, for tests. Each process draws from a stretch of its own, as far as there are any: a port that one has drawn is not
 * yet listened on, and must not be drawn by another meanwhile.
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const found = new Set<number>();
  const own = lowest + (process.pid % ((highest - lowest) / stretch)) * stretch;
  for (let tries = 0; found.size < count; tries += 1) {
    if (tries > 1000) throw new SpoolError('PORT_IN_USE', `No free port was found between ${lowest} and ${highest}.`);
    const port = tries < stretch ? own + ((drawn += 1) % stretch) : randomInt(lowest, highest);
    if (!found.has(port) && (await isPortFree(port))) found.add(port);
  }
  return [...found];
}
