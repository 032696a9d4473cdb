import type { ReadMeta } from '@spool/schemas';

/** The context of a message that names none. */
export const defaultContext = 'default';

/**
 * Contexts divide the messages of the same topics, such as live traffic and an import. A command carries one, its events carry the same. A
 * component is bound to some of them, with a position (and a read model) for each, or to all of them at once.
 */
export interface ContextOptions {
  /** @default ['default'] */
  readonly contexts?: readonly string[] | 'all';
}

/** The last part of a consumer id for each: a consumer keeps its position for one component and one context. */
export const boundContexts = (contexts: ContextOptions['contexts']): readonly string[] =>
  contexts === 'all' ? ['all'] : (contexts ?? [defaultContext]);

/** Whether a message is for the consumer of a context. */
export const inContext = (bound: string, { context = defaultContext }: Pick<ReadMeta, 'context'>): boolean =>
  bound === 'all' || bound === context;
