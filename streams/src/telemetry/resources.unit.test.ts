import { setTimeout as sleep } from 'node:timers/promises';
import { createResourceMeter } from './resources.js';

describe('the meter of resources', () => {
  it("tells what the process took since the last time, with the collector's share", async () => {
    let clock = performance.now();
    const meter = createResourceMeter(() => clock);
    try {
      let gc = 0;
      let busiest = 0;
      // Garbage until the collector has been seen at work: entries come a turn of the loop later.
      for (let round = 0; round < 200 && gc === 0; round++) {
        const kept = Array.from({ length: 200_000 }, (_, index) => ({ index }));
        expect(kept).toHaveLength(200_000);
        await sleep(1);
        clock = performance.now();
        const { cpu, gc: share, heapUsedBytes, heapTotalBytes, rssBytes, eventLoopUtilization } = meter.measure();
        gc = share;
        busiest = Math.max(busiest, eventLoopUtilization);
        expect(cpu).toBeGreaterThan(0);
        expect(heapUsedBytes).toBeGreaterThan(1e6);
        expect(heapTotalBytes).toBeGreaterThan(1e6);
        expect(rssBytes).toBeGreaterThan(heapUsedBytes / 10);
      }
      expect(gc).toBeGreaterThan(0);
      expect(gc).toBeLessThanOrEqual(1);
      expect(busiest).toBeGreaterThan(0);
    } finally {
      meter.close();
    }
  });

  it('has no share of no time', () => {
    const meter = createResourceMeter(() => 1000);
    expect(meter.measure()).toMatchObject({ cpu: 0, gc: 0 });
    meter.close();
  });
});
