import { isUtf8 } from 'node:buffer';
import { SpoolError } from '@spool/schemas';
import express, { type Request, type RequestHandler, type Response } from 'express';
import { findJsonBreak } from './json-position.js';
import { bodyTooLarge, hasBody } from './media.js';

export type ReadBody = (request: Request, response: Response) => Promise<unknown>;

/**
 * Makes a reader of JSON bodies of at most `limitBytes` (gzip, deflate and br are undone first). It gives undefined where there is no body.
 * @throws SpoolError MALFORMED_JSON with line and column, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE for an unknown encoding
 */
export function jsonBodyReader(limitBytes: number): ReadBody {
  const parse = express.json({
    limit: limitBytes,
    strict: false,
    type: () => true,
    verify: (_request, _response, bytes, encoding) => {
      if (encoding === 'utf-8' && !isUtf8(bytes)) throw new NotUtf8();
    },
  }) as RequestHandler;
  return reader<unknown>(parse, limitBytes, () => undefined);
}

/** Makes a reader of bodies as bytes, as `jsonBodyReader` does of JSON; empty where there is no body. */
export function bytesReader(limitBytes: number): (request: Request, response: Response) => Promise<Buffer> {
  return reader(express.raw({ limit: limitBytes, type: () => true }) as RequestHandler, limitBytes, () => Buffer.alloc(0));
}

function reader<T>(parse: RequestHandler, limitBytes: number, empty: () => T) {
  return (request: Request, response: Response): Promise<T> =>
    new Promise((resolve, reject) => {
      // Express would make an empty object of an empty body, and the caller would be told of missing fields.
      if (!hasBody(request)) {
        resolve(empty());
        return;
      }
      parse(request, response, (failure?: unknown) => {
        if (failure === undefined) resolve(request.body as T);
        else reject(bodyProblem(failure, limitBytes));
      });
    });
}

/** @throws SpoolError MALFORMED_JSON with line and column */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) throw new SpoolError('MALFORMED_JSON', 'The body is not UTF-8');
  const text = bytes.toString();
  try {
    return JSON.parse(text);
  } catch {
    throw malformed(text);
  }
}

class NotUtf8 extends Error {
  readonly type = 'spool.not-utf8';
}

/** What body-parser throws: `type` tells the cause, `body` holds the text that could not be parsed. */
function bodyProblem(failure: unknown, limitBytes: number): SpoolError {
  const { type, body } = failure as { readonly type?: string; readonly body?: unknown };
  switch (type) {
    case 'entity.too.large':
      return bodyTooLarge(limitBytes);
    case 'entity.parse.failed':
      return malformed(typeof body === 'string' ? body : '');
    case 'spool.not-utf8':
      return new SpoolError('MALFORMED_JSON', 'The body is not UTF-8');
    case 'encoding.unsupported':
    case 'charset.unsupported':
      return new SpoolError(
        'UNSUPPORTED_MEDIA_TYPE',
        'The content encoding or the charset is not supported; send UTF-8, plain, gzip, deflate or br',
      );
    default:
      return new SpoolError('INVALID_REQUEST', 'The body could not be read to its end', { cause: failure });
  }
}

function malformed(text: string): SpoolError {
  const place = findJsonBreak(text);
  if (place === undefined) return new SpoolError('MALFORMED_JSON', 'The body is not valid JSON');
  const { line, column, offset, found } = place;
  const what = found === undefined ? 'The JSON ends too early' : `Unexpected ${JSON.stringify(found)}`;
  return new SpoolError('MALFORMED_JSON', `${what} at line ${line}, column ${column}`, { facts: { line, column, offset } });
}
