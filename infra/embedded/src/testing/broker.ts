/** The variable that names the broker of the integration tests, as a list of `host:port` separated by commas. */
export const testKafkaVariable = 'SPOOL_TEST_KAFKA';

/**
 * The broker that integration tests share; `global-setup.ts` starts it, unless the variable named one from outside.
 * Each test makes topics and groups of its own.
 */
export function testKafka(): string[] {
  const list = process.env[testKafkaVariable];
  if (list === undefined || list === '')
    throw new Error(`${testKafkaVariable} is not set; integration tests run under jest's project "int"`);
  return list.split(',');
}
