import { createServer } from 'node:net';
import { assertPortsFree, freePorts } from './ports.js';

describe('assertPortsFree', () => {
  it('names every port that is in use, and the variable that moves it', async () => {
    const [free, taken] = await freePorts(2);
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(taken, '127.0.0.1', resolve));
    const wanted = [
      { name: 'Kafka', port: free!, variable: 'KAFKA_PORT' },
      { name: 'ClickHouse', port: taken!, variable: 'CLICKHOUSE_PORT' },
    ];
    await expect(assertPortsFree(wanted)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `Port ${taken!} for ClickHouse is in use; stop what listens there or set CLICKHOUSE_PORT to another port.`,
    });
    // It waits for a port that is given back meanwhile.
    setTimeout(() => void squatter.close(), 300);
    await assertPortsFree(wanted, 10_000);
  });

  it('sees a port that is held on all addresses', async () => {
    const [taken] = await freePorts(1);
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(taken, '0.0.0.0', resolve));
    await expect(assertPortsFree([{ name: 'Kafka', port: taken!, variable: 'KAFKA_PORT' }])).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    squatter.close();
  });
});

describe('freePorts', () => {
  it('gives different ports', async () => {
    const ports = await freePorts(20);
    expect(new Set(ports).size).toBe(20);
  });
});
