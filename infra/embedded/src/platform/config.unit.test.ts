import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { platformConfig, variableNames, wantedPorts } from './config.js';

const problems = (env: Record<string, string>): unknown => {
  try {
    return platformConfig(env);
  } catch (error) {
    return (error as { violations: readonly { pointer: string; message: string }[] }).violations.map(
      ({ pointer, message }) => `${pointer} ${message}`,
    );
  }
};

describe('platformConfig', () => {
  it('has a value for everything that is not set or is empty', () => {
    expect(platformConfig({ SPOOL_HTTP_PORT: '', PATH: '/bin' })).toEqual({
      dataDir: resolve('.spool'),
      httpPort: 8080,
      clickhousePort: 8123,
      schemaRegistryPort: 8081,
      kafkaPort: 9092,
      kafkaControllerPort: 9093,
      kafkaHeapMb: 512,
      kafkaFlushEveryWrite: false,
      kafkaBrokers: undefined,
      clickhouseUrl: undefined,
      schemaRegistryUrl: undefined,
    });
  });

  it('takes every variable', () => {
    const config = platformConfig({
      SPOOL_DATA_DIR: '/data',
      SPOOL_HTTP_PORT: '1',
      SPOOL_CLICKHOUSE_PORT: '2',
      SPOOL_SCHEMA_REGISTRY_PORT: '3',
      SPOOL_KAFKA_PORT: '4',
      SPOOL_KAFKA_CONTROLLER_PORT: '6',
      SPOOL_KAFKA_HEAP_MB: '1024',
      SPOOL_KAFKA_FLUSH_EVERY_WRITE: 'true',
      KAFKA_BROKERS: 'one:9092,two:9092',
      CLICKHOUSE_URL: 'http://clickhouse:8123',
      SCHEMA_REGISTRY_URL: 'https://registry',
    });
    expect(config).toMatchObject({ dataDir: '/data', kafkaControllerPort: 6, kafkaHeapMb: 1024, kafkaFlushEveryWrite: true });
    expect(wantedPorts(config).map(({ port }) => port)).toEqual([1]);
  });

  it('puts the controller beside the broker', () => {
    expect(platformConfig({ SPOOL_KAFKA_PORT: '19092' }).kafkaControllerPort).toBe(19_093);
  });

  it('lists every problem at once', () => {
    expect(
      problems({
        SPOOL_HTTP_PORT: '80a',
        SPOOL_CLICKHOUSE_PORT: '70000',
        SPOOL_KAFKA_HEAP_MB: '12',
        SPOOL_KAFKA_FLUSH_EVERY_WRITE: 'yes',
        KAFKA_BROKERS: 'broker',
        CLICKHOUSE_URL: 'clickhouse:8123',
      }),
    ).toEqual([
      'SPOOL_HTTP_PORT must be a port number',
      'SPOOL_CLICKHOUSE_PORT must be 1 to 65535',
      'SPOOL_KAFKA_HEAP_MB must be at least 128',
      'SPOOL_KAFKA_FLUSH_EVERY_WRITE must be true or false',
      'KAFKA_BROKERS must be a list such as host1:9092,host2:9092',
      'CLICKHOUSE_URL must be a URL that begins with http:// or https://',
    ]);
  });

  it('refuses one port for two parts, unless one of them runs elsewhere', () => {
    expect(problems({ SPOOL_HTTP_PORT: '8123' })).toEqual(['SPOOL_CLICKHOUSE_PORT must differ from SPOOL_HTTP_PORT, which is 8123 too']);
    expect(problems({ SPOOL_HTTP_PORT: '9093' })).toEqual([
      'SPOOL_KAFKA_CONTROLLER_PORT must differ from SPOOL_HTTP_PORT, which is 9093 too',
    ]);
    expect(problems({ SPOOL_HTTP_PORT: '8123', CLICKHOUSE_URL: 'http://elsewhere' })).toMatchObject({ httpPort: 8123 });
  });

  it('is told of by npm start -- --help, every variable of it', async () => {
    const help = await readFile(new URL('../../../../scripts/start.mjs', import.meta.url), 'utf8');
    expect([...help.matchAll(/^ {2}([A-Z_]{8,}) /gm)].map(([, name]) => name).sort()).toEqual([...variableNames].sort());
  });
});
