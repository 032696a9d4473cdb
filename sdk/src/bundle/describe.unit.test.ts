import { record } from '@spool/schemas';
import { topicCatalogue } from '@spool/streams';
import { cron } from '../invoker/cron.js';
import { invoker } from '../invoker/invoker.js';
import { only } from '../messages.js';
import { projector } from '../projector/projector.js';
import { Counter, counting, Sums } from '../testing/counter.js';
import { bundle, type Repository } from './bundle.js';
import { describe as describeBundle } from './describe.js';

const topics = topicCatalogue();
const run = () => Promise.resolve();
const Feed = invoker('Feed', { sends: [only(Counter, 'Add')], asks: [Sums], run });
const Nightly = cron('Nightly', { schedule: '0 3 * * *', sends: [Counter], run });
const describeWith = (repository?: Repository) =>
  describeBundle(
    bundle({
      id: 'counting',
      version: '1.0.0',
      components: [...counting.components, Feed, Nightly],
      ...(repository === undefined ? {} : { repository }),
    }),
    topics,
  );

describe('a descriptor', () => {
  it('tells what each invoker sends and asks, and what a cron runs as', () => {
    const [feed, nightly] = describeWith().components.slice(-2);
    expect(feed).toMatchObject({ kind: 'invoker', name: 'Feed', sends: ['Add', 'Total'] });
    expect(feed).not.toHaveProperty('consumer');
    expect(nightly).toMatchObject({ sends: ['Add'], consumer: 'counting.Nightly-1.default', sources: ['cron.Nightly'] });
  });

  it('tells what a projector reads, asks, is bound to and does with what it does not know', () => {
    const of = [Counter, { kind: 'service', name: 'Bell', events: { Rung: record('bell.Rung', {}) } }] as const;
    const onBatch = (): undefined => undefined;
    const Reader = projector('Reader', {
      of,
      asks: [Sums],
      contexts: ['import', 'default'],
      unknown: 'fail',
      version: 2,
      tables: {},
      onBatch,
    });
    const { components } = describeBundle(bundle({ id: 'counting', version: '1.0.0', components: [Reader] }), topics);
    expect(components[0]).toMatchObject({
      handles: ['Added', 'Rung'],
      sends: ['Total'],
      asks: ['Total'],
      sources: ['evt.Counter', 'evt.Bell'],
      consumer: 'counting.Reader-2.import',
      contexts: ['import', 'default'],
      unknown: 'fail',
    });
  });

  it('tells where each component is declared, in the file that was written', () => {
    const [feed, nightly] = describeWith().components.slice(-2);
    expect([feed!.source?.file, nightly!.source?.file]).toEqual(['src/bundle/describe.unit.test.ts', 'src/bundle/describe.unit.test.ts']);
    expect(nightly!.source!.line).toBe(feed!.source!.line + 1);
  });

  it('links each component to its line in the repository', () => {
    const url = 'https://github.com/acme/shop';
    const { repository, components } = describeWith({ url });
    const { file, line } = components[0]!.source!;
    expect(repository).toBe(url);
    expect(components[0]!.source!.url).toBe(`${url}/blob/main/${file}#L${line}`);
    const inside = describeWith({ url: `${url}/`, directory: 'sdk', ref: 'v1.0.0' }).components[0]!.source!;
    expect(inside.url).toBe(`${url}/blob/v1.0.0/sdk/${file}#L${line}`);
  });
});
