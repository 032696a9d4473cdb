import { SpoolError, type PayloadOf } from '@spool/schemas';
import type { CommandTarget, QueryTarget, TargetNamed } from '../messages.js';
import type { Answer, AskOptions, CommandGateway, CommandResult, QueryGateway, SendOptions } from './messages.js';

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
  const ask = async (of: { readonly name: string }, type: string, request: unknown, asked: AskOptions = {}) => {
    const target = targets.find(({ name, queries }) => name === of.name && Object.hasOwn(queries, type));
    if (target === undefined) throw undeclared(component, 'asks', type, of.name);
    return gateway.ask(target, type, request, complete(asked));
  };
  return { ask: ask as QueryAsker<Targets>['ask'] };
}

/** Where the compiler was not asked. */
const undeclared = (component: string, does: 'sends' | 'asks', type: string, name: string): SpoolError =>
  new SpoolError('INVALID_REQUEST', `${component} ${does} ${type} of ${name}, which it does not declare: add it to its \`${does}\``);
