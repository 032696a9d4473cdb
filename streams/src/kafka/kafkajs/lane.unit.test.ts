import { SpoolError, type ErrorCode } from '@spool/schemas';
import { Code } from './broker-errors.js';
import { BATCH_BYTES, Lane } from './lane.js';
import { readyRecord } from './record-batch.js';

const first = { producerId: 1n, epoch: 0 };
const second = { producerId: 2n, epoch: 0 };
const late = new SpoolError('KAFKA_UNAVAILABLE', 'late');

/** A lane with records on it, and what became of each: its offset, an error code, or nothing yet. */
function laneWith(count: number, bytes = 10, deadline = 1_000) {
  const lane = new Lane('t', 0);
  const outcomes: (bigint | ErrorCode | undefined)[] = [];
  const put = (index = outcomes.length) => {
    outcomes.push(undefined);
    lane.put({
      ready: readyRecord({ topic: 't', key: String(index), value: Buffer.alloc(bytes) }, 0),
      deadline,
      resolve: (position) => (outcomes[index] = position.offset),
      reject: (error) => (outcomes[index] = error.code),
    });
  };
  for (let i = 0; i < count; i++) put();
  return { lane, outcomes, put };
}
const keys = (lane: Lane, identity = first) => lane.next(identity)?.records.map(({ key }) => key?.toString());

describe('a lane of the producer', () => {
  it('numbers its batches one after the other and gives each record its offset', () => {
    const { lane, outcomes, put } = laneWith(2);
    expect(lane.next(first)).toMatchObject({ sequence: 0, identity: first });
    put();
    expect(lane.answered(Code.NONE, 40n)).toBeUndefined();
    expect(lane.next(first)).toMatchObject({ sequence: 2 });
    lane.answered(Code.NONE, 42n);
    expect(outcomes).toEqual([40n, 41n, 42n]);
    expect(lane.empty).toBe(true);
  });

  it('cuts many records into batches of bounded size, each record once and in order, whatever kafkajs would have copied', () => {
    const { lane } = laneWith(30_000, 200);
    const seen: string[] = [];
    let batches = 0;
    for (let batch = lane.next(first); batch; batch = lane.next(first)) {
      expect(batch.bytes).toBeLessThanOrEqual(BATCH_BYTES);
      seen.push(...batch.records.map(({ key }) => key!.toString()));
      lane.answered(Code.NONE, BigInt(seen.length));
      batches++;
    }
    expect(seen).toEqual(Array.from({ length: 30_000 }, (_, i) => String(i)));
    expect(batches).toBeLessThan(10);
  });

  it('sends the same batch again after a failure, not one that grew', () => {
    const { lane, put } = laneWith(2);
    lane.next(first);
    put();
    expect(lane.answered(Code.NOT_LEADER, -1n)).toBeInstanceOf(Error);
    expect(lane.next(second)).toMatchObject({ sequence: 0, identity: first, records: { length: 2 } });
  });

  it('halves a batch that is too large until the record is alone that does not fit', () => {
    const { lane, outcomes } = laneWith(3);
    const tooLarge = () => lane.answered(Code.MESSAGE_TOO_LARGE, -1n);
    expect(keys(lane)).toEqual(['0', '1', '2']);
    tooLarge();
    expect(keys(lane)).toEqual(['0']);
    tooLarge();
    expect(keys(lane)).toEqual(['1', '2']);
    expect(lane.next(first)!.sequence).toBe(0);
    lane.answered(Code.NONE, 5n);
    expect(outcomes).toEqual(['RECORD_TOO_LARGE', 5n, 6n]);
  });

  it('goes on under a new producer id when the broker has forgotten the old one', () => {
    const { lane, outcomes } = laneWith(2);
    lane.next(first);
    lane.answered(Code.OUT_OF_ORDER_SEQUENCE, -1n);
    expect(lane.identityLost).toBe(true);
    expect(lane.next(second)).toMatchObject({ sequence: 0, identity: second, records: { length: 2 } });
    lane.answered(Code.NONE, 0n);
    expect(outcomes).toEqual([0n, 1n]);
  });

  it('does not write again under a new producer id what may have been written under the old one', () => {
    const { lane, outcomes, put } = laneWith(1);
    lane.next(first);
    lane.unanswered();
    put();
    lane.next(first);
    lane.answered(Code.OUT_OF_ORDER_SEQUENCE, -1n);
    expect(outcomes).toEqual(['KAFKA_UNAVAILABLE', undefined]);
    expect(keys(lane, second)).toEqual(['1']);
  });

  it('takes no new record for a repetition of one that was given up on', () => {
    const { lane, outcomes } = laneWith(1);
    lane.next(first);
    lane.unanswered();
    lane.expire(2_000, late);
    expect(outcomes).toEqual(['KAFKA_UNAVAILABLE']);
    expect(lane.identityLost).toBe(true);
    expect(lane.next(second)).toBeUndefined();
  });

  it('gives up on what waits and on what is under way when it is due, and not before', () => {
    const { lane, outcomes, put } = laneWith(1);
    lane.next(first);
    lane.state = 'sending';
    put();
    lane.expire(999, late);
    expect(outcomes).toEqual([undefined, undefined]);
    lane.expire(1_000, late);
    expect(outcomes).toEqual(['KAFKA_UNAVAILABLE', 'KAFKA_UNAVAILABLE']);
    // the answer still comes: the numbers are in step, the callers have been told otherwise
    lane.answered(Code.NONE, 0n);
    expect(outcomes).toEqual(['KAFKA_UNAVAILABLE', 'KAFKA_UNAVAILABLE']);
    expect(lane.identityLost).toBe(false);
  });

  it('fails at once what the broker will never take', () => {
    const { lane, outcomes } = laneWith(1);
    lane.next(first);
    expect(lane.answered(29, -1n)).toBeUndefined(); // TOPIC_AUTHORIZATION_FAILED
    expect(outcomes).toEqual(['KAFKA_REFUSED']);
  });
});
