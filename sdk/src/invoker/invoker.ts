import { made } from '../bundle/source.js';
import type { CommandGateway, QueryGateway } from '../gateway/messages.js';
import type { CommandSender, CommandTarget, QueryAsker, QueryTarget } from '../messages.js';
import type { CommandLine } from './command-line.js';
import type { Cron } from './cron.js';
import type { HttpInvoker } from './http.js';

/** What goes out untyped: by the type of the message, as the registry knows it. */
export type JsonGateway = Pick<CommandGateway, 'sendJson' | 'postJson'> & Pick<QueryGateway, 'askJson'>;

export interface InvokerContext<T extends CommandTarget = never, Q extends QueryTarget = never> {
  /** Sends what `sends` declares. */
  readonly commands: CommandSender<T>;
  /** Asks what `asks` declares. */
  readonly queries: QueryAsker<Q>;
  /** For messages that this program does not know. */
  readonly gateway: JsonGateway;
  readonly now: () => number;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
  /** Fires when the work is to end: the bundle stops, or the time is up. */
  readonly signal: AbortSignal;
}

/** What every invoker declares. */
export interface InvokerOptions<T extends CommandTarget, Q extends QueryTarget> {
  readonly description?: string;
  /** Whose commands it sends: all that it may send. @default none */
  readonly sends?: readonly T[];
  /** Whose queries it asks. @default none */
  readonly asks?: readonly Q[];
}
export interface Declared<Name extends string = string> {
  readonly kind: 'invoker';
  readonly name: Name;
  readonly description: string;
  readonly sends: readonly CommandTarget[];
  readonly asks: readonly QueryTarget[];
}
export const declared = <Name extends string>(
  name: Name,
  { description = '', sends = [], asks = [] }: InvokerOptions<CommandTarget, QueryTarget>,
): Declared<Name> => ({ kind: 'invoker', name, description, sends, asks });

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
