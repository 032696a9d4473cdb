import { createPatternTrie, type EventPattern } from '@spool/sdk/routed';
import { median, type Table } from '../report.js';
import { randomOf } from '../chaos/random.js';

export interface PatternsOptions {
  readonly patterns: number;
  readonly seconds: number;
  readonly rounds: number;
}

const seed = 11;
const categories = 2000;
const details = 200;

/** Events matched a second against many patterns, of which few fit each; the floor asks every pattern as a regular expression. */
export function benchPatterns({ patterns, seconds, rounds }: PatternsOptions): Table {
  const random = randomOf(seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const all = Array.from({ length: patterns }, (): EventPattern => {
    const [category, detail, host] = [`c${pick(categories)}`, `d${pick(details)}`, `h${pick(50)}`];
    return [
      { routing: `app.data.${category}.#` },
      { routing: `app.*.${category}.info.${detail}` },
      { routing: `#.${category}.*.${detail}`, emitter: `${host}.#` },
      { routing: `app.data.${category}.x.info.*`, emitter: `*.gateway.*` },
    ][pick(4)]!;
  });
  const events = Array.from({ length: 10_000 }, () => ({
    routing: `app.data.c${pick(categories)}.x.info.d${pick(details)}`,
    emitter: `h${pick(50)}.gateway.g${pick(10)}`,
  }));
  const trie = createPatternTrie<number>();
  all.forEach((pattern, index) => trie.add(pattern, index));
  const expressions = all.map(expressionOf);
  const scan = ({ routing, emitter }: (typeof events)[number]): number =>
    expressions.reduce((found, expression) => found + (expression.test(`${routing}.\n${emitter}.`) ? 1 : 0), 0);
  const match = ({ routing, emitter }: (typeof events)[number]): number => trie.match(routing, emitter).size;
  for (const event of events.slice(0, 200)) {
    if (match(event) !== scan(event))
      throw new Error(`${event.routing} from ${event.emitter}: ${match(event)} patterns, not ${scan(event)}`);
  }
  const perSecond = (of: (event: (typeof events)[number]) => number): number => {
    const until = performance.now() + seconds * 1000;
    const began = performance.now();
    let done = 0;
    while (performance.now() < until) for (let at = 0; at < 10; at++) of(events[done++ % events.length]!);
    return (done * 1000) / (performance.now() - began);
  };
  const runs = Array.from({ length: rounds }, () => [perSecond(match), perSecond(scan)] as const);
  const [own, floor] = [0, 1].map((index) => median(runs.map((run) => run[index]!))) as [number, number];
  return {
    name: `Events matched against ${patterns.toLocaleString('en')} patterns (floor: each as a regular expression)`,
    rows: [
      { label: 'spool', metric: 'matched', value: own, unit: '1/s', ratio: own / floor },
      { label: 'floor', metric: 'matched', value: floor, unit: '1/s', ratio: 1 },
    ],
  };
}

function expressionOf({ routing, emitter = '#' }: EventPattern): RegExp {
  const part = (pattern: string): string =>
    pattern
      .split('.')
      .map((word) => (word === '#' ? '(?:[^.\\n]+\\.)*' : word === '*' ? '[^.\\n]+\\.' : `${word}\\.`))
      .join('');
  // Each word is followed by a dot here, the last one too.
  return new RegExp(`^${part(routing)}\\n${part(emitter)}$`);
}
