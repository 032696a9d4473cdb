import { made } from '../bundle/source.js';
import type { CommandTarget, QueryTarget } from '../messages.js';
import type { CommandLine } from './command-line.js';
import type { Cron } from './cron.js';
import { declared, type Declared, type InvokerContext, type InvokerOptions } from './declared.js';
import type { HttpInvoker } from './http.js';

/** An invoker that runs once, when the bundle is up. */
export interface StartInvoker<Name extends string = string, Context = never> extends Declared<Name> {
  readonly way: 'start';
  readonly run: (context: Context) => Promise<void>;
}
export type Invoker<Name extends string = string> = StartInvoker<Name> | Cron<Name> | HttpInvoker<Name> | CommandLine<Name>;

/**
 * An invoker is the way in from outside: it sends commands and asks queries. This one runs once the bundle is up, in each of its instances, such as
 * a feed; `cron`, `http` and `commandLine` make the others.
 */
export const invoker = <const Name extends string, T extends CommandTarget = never, Q extends QueryTarget = never>(
  name: Name,
  options: InvokerOptions<T, Q> & { readonly run: (context: InvokerContext<T, Q>) => Promise<void> },
): StartInvoker<Name, InvokerContext<T, Q>> =>
  made<StartInvoker<Name, InvokerContext<T, Q>>>(invoker, { ...declared(name, options), way: 'start', run: options.run });
