import { readFileSync } from 'node:fs';
import { Counter, Sums, Totals } from '../testing/counter.js';
import { bundle } from '../bundle/bundle.js';
import { invoker } from '../invoker/invoker.js';
import { Counts } from './conformance/bundle.js';
import { connectDirect, serveDirect } from './running.js';
import { startTwo } from './testing.js';

const Caller = invoker('Caller', { sends: [Counter, Counts], asks: [Sums], run: () => Promise.resolve() });
const shop = bundle({ id: 'shop', version: '1.0.0', components: [Counter, Totals, Sums, Counts, Caller] });

it('the example of docs/direct.md does what it says, as it stands there', async () => {
  await using two = await startTwo(shop);
  const serving = await serveDirect(two.running[1]);
  const direct = connectDirect(two.running[0], { discovery: { find: () => two.places().slice(1) } });
  const printed: unknown[] = [];
  const print = (...what: unknown[]): void => void printed.push(what);
  // docs/direct.md begins
  for await (const { type, data } of direct.stream(Counts, 'Count', { to: 3 })) print(type, data.n);
  const { position } = await direct.send(Counter, 'Add', 'ada', { n: 2 });
  const { view } = await direct.ask(Sums, 'Total', {}, { after: position });
  // docs/direct.md ends
  expect([printed, view]).toEqual([[1, 2, 3].map((n) => ['Counted', n]), { events: 1, sum: 2 }]);
  await direct.close();
  await serving.close();
  const code = (text: string): string => text.replace(/^ +/gm, '').trim();
  const source = readFileSync(new URL('../../src/direct/example.unit.test.ts', import.meta.url), 'utf8');
  const [, shown = ''] = /docs\/direct\.md begins\n([^]*?)\/\/ docs\/direct\.md ends/.exec(source) ?? [];
  const [, written = ''] = /```ts\n([^]*?)```/.exec(readFileSync(new URL('../../../docs/direct.md', import.meta.url), 'utf8')) ?? [];
  expect(code(shown)).toBe(code(written));
});
