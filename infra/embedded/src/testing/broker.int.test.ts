import { liveBrokers } from '../kafka/probe.js';
import { testKafka } from './broker.js';

describe('the shared test broker', () => {
  it('serves at the address that tests are given', async () => {
    const [first] = testKafka();
    expect(await liveBrokers(Number(first?.split(':')[1]))).toEqual([1]);
  });
});
