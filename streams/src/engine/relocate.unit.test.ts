import { offset, type RecordPosition } from '../kafka/port.js';
import { deadLetter, deadTimer, parkedSpec } from './parking.js';
import { SpoolError } from '@spool/schemas';
import { claimKey, checkpointKey } from './restore.js';
import { rowId } from './stores.js';
import { engineKey, relocatedLetter, relocatedParked } from './relocate.js';

/** Every second offset is missing in the copy, and the topic `other` altogether. */
const relocate = ({ topic, offset: at }: RecordPosition) => (topic === 'other' ? undefined : offset((at + 1n) / 2n));
const cause = new SpoolError('INTERNAL', 'a bug');
const options = { consumer: 'c', deadLetterTopic: 'dlq.c' };
const at = { topic: 'dlq.c', partition: 1 };
const asRead = (headers: Readonly<Record<string, string | Buffer>> = {}) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
const shown = (headers: Readonly<Record<string, Buffer>>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.toString()]));

describe('what the engine keeps of places in the log', () => {
  it('is found by its key', () => {
    const keys = [checkpointKey('0'), claimKey('0', 'c/instance-1'), rowId('$parked', 'kp'), rowId('rows', 'c/0'), 'o/1/0', 'p'];
    expect(keys.map(engineKey)).toEqual(['checkpoint', 'claim', 'parked', undefined, undefined, undefined]);
  });

  it('moves with parked records: the last one that is parked is the one before the next', () => {
    const row = { count: 2, from: '7', upTo: { 'in-0': '10', 'other-0': '3' } };
    expect(parkedSpec.decode(relocatedParked(parkedSpec.encode(row), relocate))).toEqual({ count: 2, upTo: { 'in-0': '5' } });
  });

  it('moves with dead letters, of records and of timers, and with what settles them', () => {
    const record = { topic: 'in', partition: 1, offset: offset(10), key: Buffer.from('k'), value: null, headers: {}, timestamp: 5 };
    const letter = asRead(deadLetter(options, record, cause, 0).headers);
    expect(shown(relocatedLetter(at, letter, relocate))).toEqual({ ...shown(letter), 'dlq-offset': '5' });
    const timer = asRead(deadTimer(options, 1, { name: 't', key: 'k', clock: 'wall', at: 1 }, cause, 0).headers);
    expect(relocatedLetter(at, timer, relocate)).toEqual(timer);
    const settled = asRead({ 'dlq-letter': 'in-1@10', 'dlq-topic': 'in', 'dlq-partition': '1', 'dlq-offset': '10' });
    expect(shown(relocatedLetter(at, settled, relocate))).toMatchObject({ 'dlq-letter': 'in-1@5', 'dlq-offset': '5' });
    expect(shown(relocatedLetter(at, asRead({ 'dlq-letter': 'timer@4' }), relocate))).toEqual({ 'dlq-letter': 'timer@2' });
    expect(shown(relocatedLetter(at, asRead({ 'dlq-letter': 'other-0@4' }), relocate))).toEqual({ 'dlq-letter': 'other-0@4' });
  });
});
