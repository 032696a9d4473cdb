import { createServer, connect, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

/** Leads into the network of a node that has one of its own: sockets in a folder, which network namespaces share. */
export interface Bridge {
  /** Ports of this machine that the node is to reach as its own. */
  readonly out: readonly number[];
  /** The port on which the node takes requests. */
  readonly in: number;
  readonly folder: string;
}

export interface OpenBridge {
  /** Nothing passes any more, and nobody is told: what is sent waits, as behind a broken cable. */
  cut(): void;
  mend(): void;
  close(): Promise<void>;
}

const outPath = ({ folder }: Bridge, port: number): string => join(folder, `out-${port}`);
const inPath = ({ folder }: Bridge): string => join(folder, 'in');

/** The end of this machine. */
export const openBridge = (bridge: Bridge): Promise<OpenBridge> =>
  joined([
    ...bridge.out.map((port) => ({ listen: { path: outPath(bridge, port) }, to: { port, host: '127.0.0.1' } })),
    { listen: { port: bridge.in, host: '127.0.0.1' }, to: { path: inPath(bridge) } },
  ]);

/** The end of the node. */
export const openFarEnd = (bridge: Bridge): Promise<OpenBridge> =>
  joined([
    ...bridge.out.map((port) => ({ listen: { port, host: '127.0.0.1' }, to: { path: outPath(bridge, port) } })),
    { listen: { path: inPath(bridge) }, to: { port: bridge.in, host: '127.0.0.1' } },
  ]);

type Place = { readonly path: string } | { readonly port: number; readonly host: string };

async function joined(ways: readonly { readonly listen: Place; readonly to: Place }[]): Promise<OpenBridge> {
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  let open = true;
  const flow = (socket: Socket): void => {
    if (open) socket.resume();
    else socket.pause();
  };
  const join = (from: Socket, to: Socket): void => {
    sockets.add(from);
    from.on('data', (data) => {
      if (!to.write(data)) from.pause();
    });
    to.on('drain', () => flow(from));
    from.on('error', () => undefined);
    from.on('close', () => {
      sockets.delete(from);
      to.destroy();
    });
    flow(from);
  };
  for (const { listen, to } of ways) {
    const server = createServer((from) => {
      const there = connect(to);
      join(from, there);
      join(there, from);
    });
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(listen, resolve));
    servers.push(server);
  }
  const change = (to: boolean): void => {
    open = to;
    for (const socket of sockets) flow(socket);
  };
  return {
    cut: () => change(false),
    mend: () => change(true),
    async close() {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.destroy();
      await Promise.all(
        servers.map((server) => new Promise((resolve) => (server.listening ? server.once('close', resolve) : resolve(undefined)))),
      );
    },
  };
}
