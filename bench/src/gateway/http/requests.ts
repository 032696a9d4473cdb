import { anyAggregate } from '../../commands/contenders/contender.js';
import { pad } from '../../commands/contenders/spool.js';

export type Asked = 'command' | 'query';

/** How long what is asked has to live, in seconds. */
export const livesSeconds = 1;

/** The same command that the bench of commands sends over Kafka, and a query of one row. */
export const requests: Readonly<Record<Asked, { readonly path: string; body(): string }>> = {
  command: {
    path: '/api/v1/commands/Add',
    body: () => JSON.stringify({ aggregateId: anyAggregate(), payload: { n: 1, pad } }),
  },
  query: { path: '/api/v1/queries/BooksOn', body: () => JSON.stringify({ payload: { shelf: anyAggregate() } }) },
};

/** @param prefer @default as long as the gateway gives it */
export function toBytes(asked: Asked, prefer?: string): Buffer {
  const { path, body } = requests[asked];
  const text = body();
  const head = [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...(prefer === undefined ? [] : [`Prefer: ${prefer}`]),
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${text}`);
}
