import avro from 'avsc';
import type { Type, types } from 'avsc';
import type { Violation } from '../errors/spool-error.js';
import { expected, given, step } from './names.js';

/** More than these are not listed: nobody reads them, and a list of a million wrong items must not cost a million messages. */
export const violationLimit = 50;

/** Everything that keeps `value` from being a value of `type`, with JSON pointers; empty when it fits. Undeclared fields count. */
export function violationsOf(type: Type, value: unknown): readonly Violation[] {
  const found: Violation[] = [];
  const errorHook = (path: string[], wrong: unknown, at: Type): void => {
    if (found.length >= violationLimit) return;
    const pointer = path.map(step).join('');
    const undeclared = at instanceof avro.types.RecordType ? undeclaredFields(at, wrong, pointer) : [];
    found.push(...(undeclared.length > 0 ? undeclared : [{ pointer, message: mismatch(at, wrong) }]));
  };
  type.isValid(value, { noUndeclaredFields: true, errorHook });
  return found.slice(0, violationLimit);
}

function undeclaredFields(record: types.RecordType, value: unknown, pointer: string): readonly Violation[] {
  if (typeof value !== 'object' || value === null) return [];
  const declared = new Set(record.fields.map((field) => field.name));
  const undeclared = Object.keys(value).filter((name) => !declared.has(name));
  return undeclared.map((name) => ({ pointer: pointer + step(name), message: notAField(record, name) }));
}

export const mismatch = (type: Type, value: unknown): string =>
  value === undefined ? `is missing; expected ${expected(type)}` : `expected ${expected(type)}, got ${given(value)}`;

export function notAField(record: types.RecordType, name: string): string {
  const fields = record.fields.map((field) => field.name);
  const list = fields.length > 12 ? `${fields.slice(0, 12).join(', ')} and ${fields.length - 12} more` : fields.join(', ');
  return `${name} is not a field of ${record.name ?? 'the record'}, which has ${list || 'none'}`;
}
