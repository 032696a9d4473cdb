import type { CommandGateway, QueryGateway } from '../gateway/messages.js';

export interface InvokerContext {
  readonly commands: CommandGateway;
  readonly queries: QueryGateway;
  readonly now: () => number;
  readonly log: (message: string, fields?: Readonly<Record<string, unknown>>) => void;
  /** Fires when the bundle stops; `run` then returns soon. */
  readonly signal: AbortSignal;
}

export interface Invoker<Name extends string = string> {
  readonly kind: 'invoker';
  readonly name: Name;
  readonly description: string;
  readonly sends: readonly string[];
  run(context: InvokerContext): Promise<void>;
}

/** An invoker is the way in from outside (a feed, a schedule, a command line): it sends commands and queries. It runs once the bundle is up. */
export const invoker = <const Name extends string>(
  name: Name,
  options: {
    readonly description?: string;
    /** Types of the commands and queries that it sends, for the graph of the registry. @default none */
    readonly sends?: readonly string[];
    readonly run: (context: InvokerContext) => Promise<void>;
  },
): Invoker<Name> => ({ kind: 'invoker', name, description: options.description ?? '', sends: options.sends ?? [], run: options.run });
