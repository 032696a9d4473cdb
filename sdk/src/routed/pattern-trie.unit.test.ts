import fc from 'fast-check';
import { createPatternTrie } from './pattern-trie.js';

/** As the words are defined, one after the other. */
function matches(pattern: readonly string[], words: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return words.length === 0;
  if (first === '#') return matches(rest, words) || (words.length > 0 && matches(pattern, words.slice(1)));
  return words.length > 0 && (first === '*' || first === words[0]) && matches(rest, words.slice(1));
}

const word = fc.constantFrom('a', 'b', 'c');
const words = fc.array(word, { minLength: 1, maxLength: 6 });
const patternWords = fc.array(fc.oneof(word, fc.constantFrom('*', '#')), { minLength: 1, maxLength: 6 });
const patterns = fc.array(fc.record({ routing: patternWords, emitter: patternWords }), { maxLength: 40 });

describe('patterns of events', () => {
  it('match as each would by itself, also when some have been taken out again', () => {
    fc.assert(
      fc.property(patterns, fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), words, words, (all, removed, routing, emitter) => {
        const trie = createPatternTrie<number>();
        const removes = all.map((each, index) => trie.add({ routing: each.routing.join('.'), emitter: each.emitter.join('.') }, index));
        removes.forEach((remove, index) => {
          if (removed[index] === true) remove();
        });
        const expected = all.flatMap((each, index) =>
          removed[index] !== true && matches(each.routing, routing) && matches(each.emitter, emitter) ? [index] : [],
        );
        expect([...trie.match(routing.join('.'), emitter.join('.'))].sort((a, b) => a - b)).toEqual(expected);
        expect(trie.size).toBe(all.filter((_, index) => removed[index] !== true).length);
      }),
      { numRuns: 1000 },
    );
  });

  it('take no emitter for any, and a second removal for none', () => {
    const trie = createPatternTrie<string>();
    const remove = trie.add({ routing: 'app.exception.#' }, 'errors');
    trie.add({ routing: '#.error.*', emitter: '*.gateway.*' }, 'gateways');
    expect([...trie.match('app.exception.auth.error.expired', 'h1.gateway.g1')]).toEqual(['errors', 'gateways']);
    expect([...trie.match('app.exception.auth.error.expired', 'h1.registry.r1')]).toEqual(['errors']);
    remove();
    remove();
    expect(trie.size).toBe(1);
    expect([...trie.match('app.exception.auth.error.expired', 'h1.registry.r1')]).toEqual([]);
  });

  it.each(['', 'a..b', 'a*', 'a.#b', 'a b'])('are refused with the word that can never match: "%s"', (routing) => {
    expect(() => createPatternTrie().add({ routing }, 1)).toThrow(/neither a word nor \* nor #/);
  });
});
