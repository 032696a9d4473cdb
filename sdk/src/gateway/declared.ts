import { SpoolError, type PayloadOf } from '@spool/schemas';
import type { CommandTarget, QueryTarget, TargetNamed } from '../messages.js';
import type {
  Answer,
  AskOptions,
  CommandGateway,
  CommandResult,
  Gateway,
  QueryGateway,
  QuerySubscription,
  SendOptions,
  SubscribeQueryOptions,
} from './messages.js';

/** Sends what a component has declared, and nothing else. */
export interface CommandSender<Targets extends CommandTarget> {
  /**
   * @param id of the aggregate; of a service, the lock under which it works, or null for none.
   * @throws SpoolError INVALID_PAYLOAD, REJECTED, VERSION_CONFLICT (fact `actualVersion`), EXPIRED, INDETERMINATE, OVERLOADED.
   */
  send<Name extends Targets['name'], K extends keyof TargetNamed<Targets, Name>['commands'] & string>(
    target: { readonly name: Name },
    type: K,
    id: string | null,
    payload: PayloadOf<TargetNamed<Targets, Name>['commands'][K]>,
    options?: SendOptions,
  ): Promise<CommandResult>;
}
/** Asks what a component has declared, and nothing else. */
export interface QueryAsker<Targets extends QueryTarget> {
  /** @throws SpoolError INVALID_PAYLOAD, NOT_FOUND, EXPIRED, INDETERMINATE, OVERLOADED. */
  ask<Name extends Targets['name'], K extends keyof TargetNamed<Targets, Name>['queries'] & string>(
    target: { readonly name: Name },
    type: K,
    request: PayloadOf<TargetNamed<Targets, Name>['queries'][K]['request']>,
    options?: AskOptions,
  ): Promise<Answer<PayloadOf<TargetNamed<Targets, Name>['queries'][K]['view']>>>;
}
/** Asks what a component has declared, once or with all answers that follow, and nothing else. */
export interface QuerySubscriber<Targets extends QueryTarget> extends QueryAsker<Targets> {
  /** As `subscribe` of the gateway; it ends with the work that it is asked for. @throws SpoolError as `ask` does, while it iterates */
  subscribe<Name extends Targets['name'], K extends keyof TargetNamed<Targets, Name>['queries'] & string>(
    target: { readonly name: Name },
    type: K,
    request: PayloadOf<TargetNamed<Targets, Name>['queries'][K]['request']>,
    options?: SubscribeQueryOptions,
  ): QuerySubscription<PayloadOf<TargetNamed<Targets, Name>['queries'][K]['view']>>;
}

/** The commands that a component has declared, by a gateway. @param complete fills in what the caller leaves open, such as the trace */
export function declaredCommands<Targets extends CommandTarget>(
  gateway: CommandGateway,
  component: string,
  targets: readonly Targets[],
  complete: (sent: SendOptions) => SendOptions,
): CommandSender<Targets> {
  const send = async (to: { readonly name: string }, type: string, id: string | null, payload: unknown, sent: SendOptions = {}) => {
    const target = targets.find(({ name, commands }) => name === to.name && Object.hasOwn(commands, type));
    if (target === undefined) throw undeclared(component, 'sends', type, to.name);
    return gateway.send(target, type, id, payload, complete(sent));
  };
  return { send: send };
}

/** The queries that a component has declared, by a gateway. */
export function declaredQueries<Targets extends QueryTarget>(
  gateway: Pick<QueryGateway, 'ask'>,
  component: string,
  targets: readonly Targets[],
  complete: (asked: AskOptions) => AskOptions,
): QueryAsker<Targets> {
  const ask = async (of: { readonly name: string }, type: string, request: unknown, asked: AskOptions = {}) =>
    gateway.ask(askedOf(component, targets, of, type), type, request, complete(asked));
  return { ask: ask as QueryAsker<Targets>['ask'] };
}

/** As `declaredQueries`, with their subscriptions. @param signal ends those too */
export function declaredSubscriptions<Targets extends QueryTarget>(
  gateway: Pick<Gateway, 'ask' | 'subscribe'>,
  component: string,
  targets: readonly Targets[],
  complete: <O extends AskOptions>(asked: O) => O,
  signal: AbortSignal,
): QuerySubscriber<Targets> {
  const subscribe = (of: { readonly name: string }, type: string, request: unknown, asked: SubscribeQueryOptions = {}) =>
    gateway.subscribe(askedOf(component, targets, of, type), type, request, {
      ...complete(asked),
      signal: asked.signal === undefined ? signal : AbortSignal.any([signal, asked.signal]),
    });
  return {
    ...declaredQueries(gateway, component, targets, complete),
    subscribe: subscribe as QuerySubscriber<Targets>['subscribe'],
  };
}

function askedOf<Targets extends QueryTarget>(component: string, targets: readonly Targets[], of: { readonly name: string }, type: string) {
  const target = targets.find(({ name, queries }) => name === of.name && Object.hasOwn(queries, type));
  if (target === undefined) throw undeclared(component, 'asks', type, of.name);
  return target;
}

/** Where the compiler was not asked. */
const undeclared = (component: string, does: 'sends' | 'asks', type: string, name: string): SpoolError =>
  new SpoolError('INVALID_REQUEST', `${component} ${does} ${type} of ${name}, which it does not declare: add it to its \`${does}\``);
