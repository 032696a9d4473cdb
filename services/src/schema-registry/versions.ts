/** The versions that a request names, or the error that says what is not there. */
import { subjectNotFound, versionNotFound } from './errors.js';
import type { SchemaValue } from './store/records.js';
import type { RegistryState } from './store/state.js';

/** Ascending; never empty. @throws RegistryError 40401 */
export function versionsOf(state: RegistryState, subject: string, withDeleted: boolean): readonly SchemaValue[] {
  const rows = withDeleted ? state.versions(subject) : state.liveVersions(subject);
  if (rows.length === 0) throw subjectNotFound(subject);
  return rows;
}

/** `latest` is the last live one. @throws RegistryError 40401, 40402 */
export function versionNamed(state: RegistryState, subject: string, wanted: number | 'latest', withDeleted: boolean): SchemaValue {
  const rows = versionsOf(state, subject, withDeleted);
  const row = wanted === 'latest' ? rows.findLast(({ deleted }) => !deleted) : rows.find(({ version }) => version === wanted);
  if (row === undefined) throw versionNotFound(wanted === 'latest' ? -1 : wanted);
  return row;
}
