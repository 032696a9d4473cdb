import { SpoolError } from '@spool/schemas';

/** What an event is, and how grave it may be. */
export const severitiesOf = {
  notification: ['debug', 'info', 'warning'],
  exception: ['error', 'critical', 'fatal'],
  data: ['info'],
  command: ['info'],
  return: ['info'],
} as const;
export type EventKind = keyof typeof severitiesOf;
export type Severity = (typeof severitiesOf)[EventKind][number];

/** `root.kind.category….severity.detail`: by what an event finds its listeners. */
export interface Routing {
  /** Of the application: one topic for each. */
  readonly root: string;
  readonly kind: EventKind;
  /** From the general to the particular: `['billing', 'invoice']`. */
  readonly category: readonly string[];
  readonly severity: Severity;
  readonly detail: string;
}

const word = /^[A-Za-z0-9_-]{1,63}$/;
const maxWords = 16;

/** @throws SpoolError INVALID_REQUEST that names each part that is wrong */
export function routingKey({ root, kind, category, severity, detail }: Routing): string {
  const words = [root, kind, ...category, severity, detail];
  const problems = words.flatMap((each) => (word.test(each) ? [] : [`"${each}" is no word of letters, digits, - and _`]));
  if (category.length === 0) problems.push('a category is missing');
  if (words.length > maxWords) problems.push(`${words.length} words are more than ${maxWords}`);
  const severities = (severitiesOf as Readonly<Record<string, readonly string[] | undefined>>)[kind];
  if (severities === undefined) problems.push(`"${kind}" is none of ${Object.keys(severitiesOf).join(', ')}`);
  else if (!severities.includes(severity)) problems.push(`the severity of ${kind} is one of ${severities.join(', ')}, not "${severity}"`);
  if (problems.length > 0) throw new SpoolError('INVALID_REQUEST', `the routing ${words.join('.')}: ${problems.join('; ')}`);
  return words.join('.');
}

/** @throws SpoolError INVALID_REQUEST */
export function parseRouting(key: string): Routing {
  const words = key.split('.');
  if (words.length < 5)
    throw new SpoolError(
      'INVALID_REQUEST',
      `the routing ${key} has ${words.length} words; root, kind, category, severity, detail make five`,
    );
  const routing = {
    ...{ root: words[0]!, kind: words[1] as EventKind, category: words.slice(2, -2) },
    ...{ severity: words.at(-2) as Severity, detail: words.at(-1)! },
  };
  routingKey(routing);
  return routing;
}
