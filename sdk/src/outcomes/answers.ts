import type { CommandOutcome, ReadMeta } from '@spool/schemas';
import type { Answered } from '../host/replying.js';
import type { PositionToken } from '../position/token.js';

/** Whether a command finds the version that it expects; 0: it must not exist. */
export const asExpected = (expected: ReadMeta['expectedVersion'], version: number): boolean =>
  expected === undefined || (expected === 'exists' ? version > 0 : expected === version);

/** The answer to a command by its outcome. @param applied whether it is told for the first time */
export const recorded = (outcome: CommandOutcome, applied: 'applied' | 'duplicate', position: PositionToken): Answered => ({
  outcome: outcome.status === 'rejected' ? 'rejected' : applied,
  version: outcome.version,
  events: outcome.eventTypes.map((type, index) => ({ id: `${outcome.commandId}/${index}`, type, version: outcome.firstVersion + index })),
  position,
  problem: outcome.code === null ? null : { code: outcome.code, detail: outcome.detail ?? '', violations: [] },
});
