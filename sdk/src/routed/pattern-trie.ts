import { SpoolError } from '@spool/schemas';
import type { EventPattern } from './transport.js';

/** Patterns by their words, so that thousands cost little more than those that match. */
export interface PatternTrie<T> {
  readonly size: number;
  /** @returns takes it out again. @throws SpoolError INVALID_REQUEST for a pattern with a word that can never match */
  add(pattern: EventPattern, value: T): () => void;
  /** @param emitter `host.kind.id` */
  match(routing: string, emitter: string): ReadonlySet<T>;
}

interface Node<T> {
  readonly words: Map<string, Node<T>>;
  /** `*`: one word. */
  one: Node<T> | undefined;
  /** `#`: any number of words, none too. */
  any: Node<T> | undefined;
  readonly isAny: boolean;
  readonly values: Map<symbol, T>;
}

/** Between routing and emitter; in no word, and no wildcard goes beyond it. */
const seam = '\n';
const patternWord = /^(?:\*|#|[^\s.*#]+)$/;

export function createPatternTrie<T>(): PatternTrie<T> {
  const root = nodeOf<T>(false);
  let size = 0;

  /** With all that is reached without a word. */
  const reach = (into: Set<Node<T>>, node: Node<T> | undefined): void => {
    for (let each = node; each !== undefined && !into.has(each); each = each.any) into.add(each);
  };
  return {
    get size() {
      return size;
    },
    add(pattern, value) {
      const words = wordsOf(pattern);
      const path: Node<T>[] = [root];
      for (const word of words) {
        const node = path.at(-1)!;
        let next: Node<T> | undefined;
        if (word === '*') next = node.one ??= nodeOf(false);
        else if (word === '#') next = node.any ??= nodeOf(true);
        else if ((next = node.words.get(word)) === undefined) node.words.set(word, (next = nodeOf(false)));
        path.push(next);
      }
      const own = Symbol();
      path.at(-1)!.values.set(own, value);
      size += 1;
      return () => {
        if (!path.at(-1)!.values.delete(own)) return;
        size -= 1;
        // What leads nowhere any more.
        for (let at = path.length - 1; at > 0 && isEmpty(path[at]!); at--) {
          const [parent, word] = [path[at - 1]!, words[at - 1]!];
          if (word === '*') parent.one = undefined;
          else if (word === '#') parent.any = undefined;
          else parent.words.delete(word);
        }
      };
    },
    match(routing, emitter) {
      let here = new Set<Node<T>>();
      reach(here, root);
      for (const word of [...routing.split('.'), seam, ...emitter.split('.')]) {
        const next = new Set<Node<T>>();
        for (const node of here) {
          reach(next, node.words.get(word));
          if (word === seam) continue;
          reach(next, node.one);
          if (node.isAny) reach(next, node);
        }
        if (next.size === 0) return new Set();
        here = next;
      }
      const found = new Set<T>();
      for (const node of here) for (const value of node.values.values()) found.add(value);
      return found;
    },
  };
}

const nodeOf = <T>(isAny: boolean): Node<T> => ({ words: new Map(), one: undefined, any: undefined, isAny, values: new Map() });
const isEmpty = <T>({ words, one, any, values }: Node<T>): boolean =>
  words.size === 0 && values.size === 0 && one === undefined && any === undefined;

function wordsOf({ routing, emitter = '#' }: EventPattern): readonly string[] {
  const words = [...routing.split('.'), seam, ...emitter.split('.')];
  const wrong = words.find((word) => word !== seam && !patternWord.test(word));
  if (wrong === undefined) return words;
  throw new SpoolError('INVALID_REQUEST', `the pattern "${routing}" from "${emitter}": "${wrong}" is neither a word nor * nor #`);
}
