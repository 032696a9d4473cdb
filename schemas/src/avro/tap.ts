/** What avsc's types work with inside; not in its typings, and the same since version 5. */
import type { Type } from 'avsc';

/** The cursor that is read and written through. Past the end writes are dropped and reads give nothing; `pos` tells afterwards. */
export interface Tap {
  pos: number;
  readonly buf: Buffer;
  readLong(): number;
  writeLong(value: number): void;
  readString(): string;
  skipString(): void;
}
export interface Readable {
  _read(tap: Tap): unknown;
  _skip(tap: Tap): void;
}
/** A resolver that is being built. */
export interface Resolving {
  _read: ((tap: Tap) => unknown) | null;
}
export type Hook = (value: unknown, type: Type) => void;
