import { toSpoolError, type ReadMeta, type SpoolError } from '@spool/schemas';
import type { ComponentDescriptor } from '../bundle/descriptor.js';

/** A message on its way to its handler. */
export interface Intercepted {
  readonly bundle: string;
  readonly component: string;
  readonly kind: ComponentDescriptor['kind'];
  /** `request`: what an invoker was called with. */
  readonly messageKind: 'command' | 'event' | 'query' | 'timer' | 'request';
  readonly type: string;
  readonly payload: unknown;
  readonly meta: Partial<ReadMeta>;
}

/** Goes around every handler of a bundle: for authorization, logs, figures. What `before` throws refuses the message, as if the handler had thrown it. */
export interface Interceptor {
  /** @default every kind of component */
  readonly kinds?: readonly ComponentDescriptor['kind'][];
  before?(message: Intercepted): void | Promise<void>;
  /** @param result what the handler gave: events, a view, a state. The outside world may see it before it is committed: change nothing there. */
  after?(message: Intercepted, result: unknown): void | Promise<void>;
  /** A rejection by the domain is a result, not an error. */
  onError?(message: Intercepted, error: SpoolError): void | Promise<void>;
}

/** Runs a handler within its interceptors: the first one is the outermost. Without any it costs nothing. */
export function intercept<T>(
  interceptors: readonly Interceptor[],
  message: () => Intercepted,
  kind: Intercepted['kind'],
  work: () => T | Promise<T>,
): T | Promise<T> {
  if (interceptors.length === 0) return work();
  const around = interceptors.filter(({ kinds }) => kinds?.includes(kind) ?? true);
  return around.length === 0 ? work() : within(around, message(), work);
}

async function within<T>(around: readonly Interceptor[], message: Intercepted, work: () => T | Promise<T>): Promise<T> {
  const [outermost, ...rest] = around;
  if (outermost === undefined) return work();
  try {
    await outermost.before?.(message);
    const result = await within(rest, message, work);
    await outermost.after?.(message, result);
    return result;
  } catch (thrown) {
    const error = toSpoolError(thrown);
    await outermost.onError?.(message, error);
    throw error;
  }
}
