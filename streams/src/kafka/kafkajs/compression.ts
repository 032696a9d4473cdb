import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { decompress as zstdDecompress } from 'fzstd';
import { decompressFrame } from 'lz4-napi';
import { uncompress as snappyUncompress } from 'snappy';
import { SpoolError } from '@spool/schemas';

const unzip = promisify(gunzip);
const NAMES = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];

/** Undoes the compression that a record batch names in the low three bits of its attributes (0 is none). */
export async function decompress(codec: number, bytes: Buffer): Promise<Buffer> {
  switch (codec) {
    case 1:
      return unzip(bytes);
    case 2:
      return unsnappy(bytes);
    case 3:
      return decompressFrame(bytes);
    case 4:
      return Buffer.from(zstdDecompress(bytes));
    default:
      throw new SpoolError('RECORD_UNREADABLE', `compression ${NAMES[codec] ?? codec} is not known`);
  }
}

/** Java clients cut snappy into blocks, framed as xerial's library does: this magic, two version numbers, then length and block in turn. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);

async function unsnappy(bytes: Buffer): Promise<Buffer> {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return block(bytes);
  const blocks: Buffer[] = [];
  for (let at = XERIAL.length + 8; at < bytes.length;) {
    const length = bytes.readInt32BE(at);
    blocks.push(await block(bytes.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return Buffer.concat(blocks);
}

const block = async (bytes: Buffer): Promise<Buffer> => (await snappyUncompress(bytes)) as Buffer;
