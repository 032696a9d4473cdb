import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { testKafka } from '@spool/embedded';
import { chaosGateway, differences, type NodeEvidence } from './gateway.js';
import { nothingArrived } from './node.js';

let dataDir: string;
beforeEach(async () => (dataDir = await mkdtemp(join(tmpdir(), 'spool-nodes-test-'))));
afterEach(() => rm(dataDir, { recursive: true, force: true }));

describe('four nodes that fire events at each other', () => {
  it('get durable ones once and in order, and count what transient ones are lost, while nodes are stopped and killed and the way is switched', async () => {
    const { found } = await chaosGateway({
      ...{ brokers: testKafka(), dataDir, events: 8000, perSecond: 300, ownNetwork: false, deadlineMs: 110_000, progress: () => undefined },
      disturbances: [
        { kind: 'stop', forMs: 800 },
        { kind: 'http', forMs: 0 },
        { kind: 'kill', forMs: 300 },
        { kind: 'kafka', forMs: 0 },
      ],
    });
    expect(found).toEqual([]);
  }, 120_000);

  it('would be found out if one were lost, doubled, overtaken or not counted', () => {
    const node = (name: string, to: number, from: Partial<typeof nothingArrived>, dropped = 0): NodeEvidence => ({
      ...{
        node: name,
        killed: false,
        journal: [
          { kind: 'fires', from: 1, to },
          { kind: 'fired', from: 1, to },
        ],
      },
      report: {
        ...{ done: true, received: [], delays: [], arrived: { a: { ...nothingArrived, ...from } } },
        lanes: [{ node: 'b', waiting: 0, sent: 0, dropped, missed: 0, lastSeen: undefined, way: 'kafka' }],
      },
    });
    const sent = node('a', 5, {}, 1);
    const quiet = node('b', 0, {});
    const told = (from: Partial<typeof nothingArrived>) =>
      differences([sent, { ...quiet, report: { ...quiet.report, arrived: { a: { ...nothingArrived, ...from } } } }]);
    expect(told({ durable: 5, transient: 4 })).toEqual([]);
    expect(told({ durable: 4, transient: 4 })).toEqual(['a to b: 5 durable events were safe, 5 begun, 4 came']);
    expect(told({ durable: 5, transient: 4, twice: 1 })).toEqual(['a to b: 1 durable events came twice']);
    expect(told({ durable: 5, transient: 4, behind: 2 })).toEqual(['a to b: 2 durable events came behind later ones']);
    expect(told({ durable: 5, transient: 3 })).toEqual(['a to b: 5 transient events were fired, 3 came, 1 are counted as lost']);
  });
});
