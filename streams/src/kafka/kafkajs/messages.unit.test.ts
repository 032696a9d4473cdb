import { backoffMs } from '../backoff.js';
import { parseAddress } from './connection.js';
import { metadataMessage } from './messages.js';
import { coordinatorPauseMs } from './transactional.js';
import { BrokerError, Code } from './broker-errors.js';

describe('what is asked of a broker', () => {
  it('never makes a topic by asking for it, as kafkajs does by default', async () => {
    const { buffer } = await metadataMessage(['orders']).request.encode();
    expect(buffer.at(-1)).toBe(0); // allow_auto_topic_creation
    expect(buffer.subarray(0, 4).readInt32BE()).toBe(1);
    expect((await metadataMessage(null).request.encode()).buffer.readInt32BE()).toBe(-1);
  });

  it('asks again at once while a transaction still ends, where kafkajs waits 300 ms', () => {
    const still = new BrokerError(Code.CONCURRENT_TRANSACTIONS, 'AddPartitionsToTxn');
    expect([0, 1, 2, 3, 4].map((n) => coordinatorPauseMs(n, still))).toEqual([0, 0, 0, 1, 2]);
    expect(coordinatorPauseMs(500, still)).toBe(20);
  });

  it('backs off from 5 ms to half a second, not in step with others', () => {
    expect([0, 1, 2, 10, 1_000].map((n) => backoffMs(n, () => 0))).toEqual([5, 10, 20, 500, 500]);
    expect(backoffMs(0, () => 1)).toBe(6.25);
  });
});

describe('parseAddress', () => {
  it('takes names and both kinds of numbers', () => {
    expect(parseAddress('kafka-1.example:9092')).toEqual({ host: 'kafka-1.example', port: 9092 });
    expect(parseAddress('127.0.0.1:9092')).toEqual({ host: '127.0.0.1', port: 9092 });
    expect(parseAddress('[::1]:9092')).toEqual({ host: '::1', port: 9092 });
  });

  it.each(['kafka', ':9092', 'kafka:', 'kafka:0', 'kafka:70000', 'kafka:http', ''])('refuses "%s"', (address) => {
    expect(() => parseAddress(address)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }) as Error);
  });
});
