import { violations, type Attempt, type Call, type LoggedEvent, type Outcome } from './history.js';

const call = (commandId: string, expected: number, attempts: readonly Attempt[], events = 1): Call => ({
  commandId,
  aggregateId: 'a',
  expected,
  events,
  attempts,
});
const told = (outcome: Outcome, invokedAt: number, returnedAt: number): Attempt => ({ invokedAt, returnedAt, outcome });
const applied = (id: string, version: number, kind: 'applied' | 'duplicate' = 'applied', events = 1): Outcome => ({
  kind,
  version,
  events: Array.from({ length: events }, (_, index) => ({ id: `${id}/${index}`, version: version - events + 1 + index })),
});
const unknown: Outcome = { kind: 'unknown', code: 'INDETERMINATE' };
const conflict = (actual: number): Outcome => ({ kind: 'conflict', actual });
let offset = 0n;
const event = (commandId: string, version: number, at: number, index = 0): LoggedEvent => ({
  partition: 0,
  offset: offset++,
  aggregateId: 'a',
  version,
  id: `${commandId}/${index}`,
  commandId,
  at,
});

/** Three commands are applied, the second by a retry and sent again later; one meets a real conflict, one is rejected, one stays unknown. */
const history: readonly Call[] = [
  call('one', 0, [told(applied('one', 1), 10, 20)]),
  call(
    'two',
    1,
    [told(unknown, 21, 30), told(applied('two', 3, 'duplicate', 2), 31, 40), told(applied('two', 3, 'duplicate', 2), 90, 95)],
    2,
  ),
  call('late', 1, [told(conflict(3), 22, 45)]),
  call('refused', 3, [told({ kind: 'rejected' }, 41, 46), told({ kind: 'rejected' }, 91, 92)], 0),
  call('three', 3, [told(unknown, 50, 60)]),
];
const log: readonly LoggedEvent[] = [event('one', 1, 15), event('two', 2, 28), event('two', 3, 28, 1), event('three', 4, 55)];

const replaced = (changed: Call): readonly Call[] => history.map((each) => (each.commandId === changed.commandId ? changed : each));

describe('the check of a history of commands', () => {
  it('finds nothing where all is well', () => {
    expect(violations(history, log)).toEqual([]);
  });

  it.each<[string, readonly Call[], readonly LoggedEvent[], string]>([
    [
      'a lost acknowledgement',
      [...history, call('gone', 4, [told(applied('gone', 5), 60, 61)])],
      log,
      'gone: acknowledged with version 5, and not in the log: lost',
    ],
    [
      'a doubled event',
      history,
      [...log.slice(0, 1), log[0]!, ...log.slice(1)],
      'a: version 1 follows 1 at partition 0, offset 0: doubled or out of order',
    ],
    ['a command that was applied twice', history, [...log, event('three', 5, 56)], 'three: 2 events in the log, it asked for 1: doubled'],
    ['a gap', history, log.toSpliced(1, 2), 'a: version 4 follows 1 at partition 0, offset 3: a gap'],
    ['a command of which half is there', history, log.toSpliced(2, 1), 'two: 1 of its 2 events are in the log: torn apart'],
    ['an event from nowhere', history, [...log, event('nobody', 5, 60)], 'nobody: in the log at'],
    [
      'a command that was applied at another version',
      [...history, call('wrong', 3, [told(unknown, 60, 70)])],
      [...log, event('wrong', 5, 65)],
      'wrong: expected version 3, and was applied at version 4',
    ],
    [
      'an event that is older than its command',
      replaced(call('three', 3, [told(unknown, 56, 60)])),
      log,
      'three: its event is older than the command',
    ],
    [
      'a reply with another version',
      replaced(call('one', 0, [told(applied('one', 2), 10, 20)])),
      log,
      'one: the reply says one/0@2 and version 2, the log one/0@1',
    ],
    [
      'a reply with other events',
      replaced(call('one', 0, [told(applied('uno', 1), 10, 20)])),
      log,
      'one: the reply says uno/0@1 and version 1, the log one/0@1',
    ],
    [
      'a reply before the event',
      replaced(call('one', 0, [told(applied('one', 1), 10, 12)])),
      log,
      'one: was acknowledged 3 ms before its event was decided',
    ],
    [
      'a changed outcome of a repeated id',
      replaced(call('two', 1, [told(applied('two', 3, 'applied', 2), 21, 30), told(conflict(3), 90, 95)], 2)),
      log,
      'two: told applied at version 3, then conflict for the same id',
    ],
    [
      'an id that is applied anew',
      replaced(call('one', 0, [told(applied('one', 1), 10, 20), told(applied('one', 1), 30, 40)])),
      log,
      'one: applied, and then applied again',
    ],
    ['a failure', replaced(call('three', 3, [told({ kind: 'failed', code: 'INTERNAL' }, 50, 60)])), log, 'three: failed with INTERNAL'],
    [
      'a refused command in the log',
      replaced(call('three', 3, [told({ kind: 'rejected' }, 50, 60)])),
      log,
      'three: told rejected, and in the log',
    ],
    [
      'a conflict with the expected version',
      replaced(call('late', 3, [told(conflict(3), 41, 45)])),
      log,
      'late: told that a is at version 3 and not 3: that is the expected version',
    ],
    [
      'a conflict with a version that never was',
      replaced(call('late', 1, [told(conflict(9), 22, 45)])),
      log,
      'late: told that a is at version 9 and not 1: it never was',
    ],
    [
      'a conflict with half a command',
      replaced(call('late', 1, [told(conflict(2), 22, 45)])),
      log,
      'late: told that a is at version 2 and not 1: it never was',
    ],
    [
      'a conflict with a version that came later',
      replaced(call('late', 1, [told(conflict(3), 22, 26)])),
      log,
      'late: told that a is at version 3 and not 1: it came to that 2 ms later',
    ],
    [
      'a conflict with a version that was left behind',
      replaced(call('late', 3, [told(conflict(1), 43, 45)])),
      log,
      'late: told that a is at version 1 and not 3: it had gone beyond 3 ms before',
    ],
  ])('finds %s', (_, calls, events, sentence) => {
    expect(violations(calls, events)).toContainEqual(expect.stringContaining(sentence));
  });
});
