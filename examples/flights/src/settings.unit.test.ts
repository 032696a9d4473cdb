import { flightsSettings } from './settings.js';

const least = { KAFKA_BROKERS: '127.0.0.1:9092', SCHEMA_REGISTRY_URL: 'http://127.0.0.1:8081' };

describe('the settings', () => {
  it('are few that must be set', () => {
    expect(flightsSettings(least)).toMatchObject({ instance: 'flights-0', feed: true, bug: false, flightsPerSecond: 400 });
    const other = { ...least, SPOOL_INSTANCE: 'flights-3', SPOOL_FLIGHTS_FEED: 'off', SPOOL_FLIGHTS_BUG: 'on', SPOOL_FLIGHTS_RATE: '0' };
    expect(flightsSettings(other)).toMatchObject({ instance: 'flights-3', feed: false, bug: true, flightsPerSecond: 0 });
  });

  it('are refused together, each by its name', () => {
    const wrong = {
      ...least,
      SCHEMA_REGISTRY_URL: 'nowhere',
      SPOOL_INSTANCE: 'Flights!',
      SPOOL_FLIGHTS_FEED: 'yes',
      SPOOL_FLIGHTS_RATE: '-1',
    };
    const pointers = ['SCHEMA_REGISTRY_URL', 'SPOOL_INSTANCE', 'SPOOL_FLIGHTS_FEED', 'SPOOL_FLIGHTS_RATE'];
    const violations = pointers.map((pointer) => expect.objectContaining({ pointer }) as unknown);
    expect(() => flightsSettings(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG', violations }) as Error);
  });
});
