import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import { EngineError } from './engine-error.js';

/** Enough for any head of an INSERT: ClickHouse's own `max_query_size`. */
const headBytes = 262_144;

/** The beginning of a body, and how to get at the rest. */
export interface Body {
  readonly head: Buffer;
  /** The whole as one piece. @throws EngineError 229 when it has more than `most` bytes */
  whole(most: number): Promise<Buffer>;
  /** Writes everything from `offset` in the head on to a file. @throws EngineError 307 when that is more than `most` bytes */
  spool(offset: number, file: string, most: number): Promise<void>;
}

/** @param before what stands in front of the body, such as the query of the URL. */
export async function openBody(source: Readable, before: string): Promise<Body> {
  const rest = source[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  const chunks: Buffer[] = [Buffer.from(before)];
  let size = chunks[0]!.length;
  const state = { isEnded: false };
  const pull = async (): Promise<void> => {
    const { done, value } = await reading(rest.next());
    state.isEnded = done === true;
    if (value !== undefined) size += chunks[chunks.push(value) - 1]!.length;
  };
  while (!state.isEnded && size < headBytes) await pull();
  const head = Buffer.concat(chunks);
  const from = async function* (offset: number): AsyncGenerator<Buffer> {
    yield head.subarray(offset);
    while (!state.isEnded) {
      const { done, value } = await reading(rest.next());
      if (done === true) return;
      yield value;
    }
  };
  return {
    head,
    async whole(most) {
      while (!state.isEnded && size <= most) await pull();
      if (size > most) throw new EngineError(229, 'QUERY_IS_TOO_LARGE', `The query has more than ${most} bytes.`);
      return chunks.length === 2 && before === '' ? chunks[1]! : Buffer.concat(chunks);
    },
    async spool(offset, file, most) {
      let written = 0;
      const bounded = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          written += chunk.length;
          if (written > most) done(new EngineError(307, 'TOO_MANY_BYTES', `The data has more than ${most} bytes; send it in parts.`, 413));
          else done(null, chunk);
        },
      });
      await pipeline(from(offset), bounded, createWriteStream(file));
    },
  };
}

/** Codings that Node decodes as they come, and those that only the engine knows. */
const decoders = { gzip: createGunzip, deflate: createInflate, br: createBrotliDecompress };
const engineCodings = ['lz4', 'zstd', 'xz', 'bz2'];

export interface Decoding {
  readonly uploads: string;
  readonly most: number;
  /** Has the engine decode one file into another; undefined where that is not allowed. */
  readonly decode: ((coding: string, from: string, to: string) => Promise<void>) | undefined;
}

/** The body as it was before its Content-Encoding. Temporary files are gone when `use` is done. */
export async function withDecoded<T>(request: IncomingMessage, decoding: Decoding, use: (source: Readable) => Promise<T>): Promise<T> {
  const coding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (coding === 'identity' || coding === '') return use(request);
  if (isOf(decoders, coding)) {
    const decoder = decoders[coding]();
    // Not pipeline(): it would end the connection when the body is broken, and with it the answer that says so.
    request.once('error', (cause) => decoder.destroy(cause));
    return use(request.pipe(decoder));
  }
  if (!engineCodings.includes(coding) || decoding.decode === undefined) {
    throw new EngineError(89, 'UNKNOWN_COMPRESSION_METHOD', `Content-Encoding ${coding} is not served.`, 415);
  }
  const packed = uploadFile(decoding.uploads);
  const plain = uploadFile(decoding.uploads);
  try {
    await (await openBody(request, '')).spool(0, packed, decoding.most);
    await decoding.decode(coding, packed, plain);
    return await use(createReadStream(plain));
  } finally {
    await Promise.all([packed, plain].map((file) => rm(file, { force: true })));
  }
}

/** Lets the rest of a body go by, so that a client that sends before it reads gets its answer. */
export function discard(request: IncomingMessage): void {
  request.removeAllListeners('readable');
  request.unpipe();
  request.resume();
}

const isOf = <K extends string>(known: Readonly<Record<K, unknown>>, key: string): key is K => Object.hasOwn(known, key);

/** The name of a new file. */
export const uploadFile = (folder: string): string => join(folder, randomUUID());

async function reading<T>(next: Promise<T>): Promise<T> {
  try {
    return await next;
  } catch (thrown) {
    if (thrown instanceof EngineError) throw thrown;
    const { code, message } = thrown as NodeJS.ErrnoException;
    if (code === 'ECONNRESET') throw new EngineError(210, 'NETWORK_ERROR', 'The body ended early.', 400);
    throw new EngineError(354, 'INFLATE_FAILED', `The body cannot be decoded: ${message}`, 400);
  }
}
