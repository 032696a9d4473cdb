import type { CommandGateway, QueryGateway } from '../gateway/messages.js';
import type { CommandSender, QuerySubscriber } from '../gateway/declared.js';
import type { EventFirer } from '../routed/events.js';
import type { CommandTarget, QueryTarget } from '../messages.js';

/** What goes out untyped: by the type of the message, as the registry knows it. */
export type JsonGateway = Pick<CommandGateway, 'sendJson' | 'postJson'> & Pick<QueryGateway, 'askJson'>;

/** Of an invoker that runs in a process of its own. */
export interface ClientContext<T extends CommandTarget = never, Q extends QueryTarget = never> {
  /** Sends what `sends` declares. */
  readonly commands: CommandSender<T>;
  /** Asks what `asks` declares, once or with all answers that follow. */
  readonly queries: QuerySubscriber<Q>;
  /** For messages that this program does not know. */
  readonly gateway: JsonGateway;
  readonly now: () => number;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
  /** Fires when the work is to end: the bundle stops, or the time is up. */
  readonly signal: AbortSignal;
}
export interface InvokerContext<T extends CommandTarget = never, Q extends QueryTarget = never> extends ClientContext<T, Q> {
  /** Fires routed events that the bundle declares. */
  readonly events: EventFirer;
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
