import express from 'express';
import type { AddressInfo } from 'node:net';
import { requests, type Asked } from './requests.js';

/** A bare express server that reads JSON and answers the same bytes. @returns its port */
export function answerBare(bodies: Readonly<Record<Asked, string>>): Promise<number> {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  for (const asked of ['command', 'query'] as const) {
    app.post(requests[asked].path, express.json(), (_request, response) => {
      response.type('application/json').send(bodies[asked]);
    });
  }
  return new Promise((resolve, reject) => {
    const server = app.listen(0, '127.0.0.1', (error?: Error) => {
      if (error === undefined) resolve((server.address() as AddressInfo).port);
      else reject(error);
    });
  });
}
