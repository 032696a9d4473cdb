import { SpoolError, toSpoolError } from '@spool/schemas';
import type { RunningBundle } from '../host/start-bundle.js';
import { createAnswering, type AnsweringOptions } from './answering.js';
import type { CallTransport } from './call.js';
import { createSessions, type SessionsOptions } from './sessions.js';

/** Calls to a bundle of this process, without a socket: for tests, and for bundles that share a process. */
export function localTransport(
  running: RunningBundle,
  {
    caller = running.endpoint.self,
    ...options
  }: AnsweringOptions & SessionsOptions & { readonly caller?: RunningBundle['endpoint']['self'] } = {},
): CallTransport {
  const answering = createAnswering(running, options);
  const sessions = createSessions(running, options);
  const never = new AbortController().signal;
  let closing: Promise<void> | undefined;
  const assertOpen = (): void => {
    if (closing !== undefined) throw new SpoolError('UNAVAILABLE', 'the transport is closed');
  };
  const close = (): Promise<void> => (closing ??= sessions.close());
  return {
    get inFlight() {
      return answering.inFlight + sessions.size;
    },
    async call(call, signal = never) {
      assertOpen();
      return answering.answer(caller, call, signal);
    },
    link(call, sink) {
      try {
        assertOpen();
        return sessions.open(caller, call, sink);
      } catch (thrown) {
        queueMicrotask(() => sink.failed(toSpoolError(thrown)));
        return { grant: () => undefined, cancel: () => undefined };
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
