import { readFileSync } from 'node:fs';
import { long, string } from './serde.js';
import { topology } from './topology.js';
import { topologyDriver } from './driver.js';
import { tumbling } from './windows.js';

// docs/streams.md begins
const delays = topology('delays', ({ stream, table }) => {
  const airports = table('airports', { key: string, value: string });
  const late = stream('departures', { key: string, value: long }).filter((minutes) => minutes > 15);
  const perHour = late
    .groupByKey()
    .windowedBy(tumbling({ sizeMs: 3_600_000, graceMs: 60_000 }), { emit: 'final' })
    .count('late-per-hour');
  late.join(airports, (minutes, city) => `${city}: ${minutes} minutes`).to('notices', { key: string, value: string });
  return { perHour };
});
// docs/streams.md ends

it('the example of docs/streams.md does what it says, as it stands there', async () => {
  const code = /\/\/ docs\/streams\.md begins\n(.*)\/\/ docs\/streams\.md ends/s;
  const here = code.exec(readFileSync(new URL('../../src/topology/example.unit.test.ts', import.meta.url), 'utf8'))![1]!;
  expect(readFileSync(new URL('../../../docs/streams.md', import.meta.url), 'utf8')).toContain(here);

  const driver = await topologyDriver(delays);
  await driver.input('airports', { key: string, value: string }).send('BOS', 'Boston');
  await driver.input('departures', { key: string, value: long }).send('BOS', 40, { timestamp: 1000 });
  await driver.input('departures', { key: string, value: long }).send('BOS', 5, { timestamp: 2000 });
  const notices = await driver.output('notices', { key: string, value: string }).read();
  expect(notices.map(({ key, value }) => [key, value])).toEqual([['BOS', 'Boston: 40 minutes']]);
});
