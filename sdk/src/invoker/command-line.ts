import { parseArgs } from 'node:util';
import { SpoolError, type Violation } from '@spool/schemas';
import { made } from '../bundle/source.js';
import type { CommandTarget, QueryTarget } from '../messages.js';
import { declared, type Declared, type ClientContext, type InvokerOptions } from './declared.js';

interface Values {
  readonly string: string;
  readonly number: number;
  readonly boolean: boolean;
}
/** Given as `--name value`, a boolean as `--name` or `--no-name`. */
export interface Argument {
  readonly type: keyof Values;
  readonly doc?: string;
  /** Without one it has to be given, unless it is optional; a boolean is false. */
  readonly default?: string | number | boolean;
  readonly optional?: true;
}
export type Arguments = Readonly<Record<string, Argument>>;
export type ArgumentsOf<A extends Arguments> = {
  readonly [K in keyof A]: A[K] extends { readonly optional: true } ? Values[A[K]['type']] | undefined : Values[A[K]['type']];
};

export interface CommandLineOptions<A extends Arguments, T extends CommandTarget, Q extends QueryTarget> extends InvokerOptions<T, Q> {
  /** @default none */
  readonly arguments?: A;
  readonly run: (given: ArgumentsOf<A>, context: ClientContext<T, Q>) => Promise<void>;
}

export interface CommandLine<Name extends string = string, Given = never, Context = never> extends Declared<Name> {
  readonly way: 'command-line';
  readonly arguments: Arguments;
  readonly run: (given: Given, context: Context) => Promise<void>;
}

/** An invoker that `spool invoke <bundle module> <name> -- --argument value` runs, in a process of its own: a bundle that starts leaves it alone. */
export const commandLine = <
  const Name extends string,
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- there are no arguments
  const A extends Arguments = {},
  T extends CommandTarget = never,
  Q extends QueryTarget = never,
>(
  name: Name,
  options: CommandLineOptions<A, T, Q>,
): CommandLine<Name, ArgumentsOf<A>, ClientContext<T, Q>> =>
  made<CommandLine<Name, ArgumentsOf<A>, ClientContext<T, Q>>>(commandLine, {
    ...declared(name, options),
    way: 'command-line',
    arguments: options.arguments ?? {},
    run: options.run,
  });

/** @throws SpoolError INVALID_REQUEST that lists every problem, and what may be given */
export function parseArguments({ name, arguments: known }: CommandLine, given: readonly string[]): Readonly<Record<string, unknown>> {
  const options = Object.fromEntries(
    Object.entries(known).map(([key, { type }]) => [key, { type: type === 'boolean' ? ('boolean' as const) : ('string' as const) }]),
  );
  let values: Readonly<Record<string, string | boolean | undefined>>;
  try {
    ({ values } = parseArgs({ args: [...given], options, strict: true, allowNegative: true }));
  } catch (cause) {
    throw refused(name, known, [{ pointer: '', message: (cause as Error).message.split('. ')[0]! }]);
  }
  const violations: Violation[] = [];
  const parsed = Object.entries(known).map(([key, { type, default: otherwise, optional }]): [string, unknown] => {
    const text = values[key];
    if (text === undefined) {
      if (otherwise === undefined && optional === undefined && type !== 'boolean')
        violations.push({ pointer: `--${key}`, message: 'is missing' });
      return [key, otherwise ?? (type === 'boolean' && optional === undefined ? false : undefined)];
    }
    if (type !== 'number') return [key, text];
    const number = Number(text);
    if (text === '' || !Number.isFinite(number)) violations.push({ pointer: `--${key}`, message: `must be a number, not "${text}"` });
    return [key, number];
  });
  if (violations.length > 0) throw refused(name, known, violations);
  return Object.fromEntries(parsed);
}

function refused(name: string, known: Arguments, violations: readonly Violation[]): SpoolError {
  const wrong = violations.map(({ pointer, message }) => `${pointer} ${message}`.trim()).join('; ');
  const usage = Object.entries(known).map(
    ([key, { type, doc }]) => `--${key}${type === 'boolean' ? '' : ` <${type}>`}${doc === undefined ? '' : `: ${doc}`}`,
  );
  return new SpoolError('INVALID_REQUEST', `${name}: ${wrong}. It takes ${usage.length === 0 ? 'no arguments' : usage.join('; ')}`, {
    violations,
  });
}
