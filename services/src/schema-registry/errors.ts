/**
 * The errors of the registry's API, with the codes of Confluent's Schema Registry: the first three digits are the HTTP status.
 * Clients branch on `error_code`, so the platform's own catalogue stays out of these responses.
 */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  constructor(
    /** The HTTP status of the response. */
    readonly status: number,
    /** `error_code` in the body. */
    readonly code: number,
    message: string,
    /** Seconds after which a retry makes sense; becomes Retry-After. */
    readonly retryAfterSeconds?: number,
  ) {
    super(message);
  }
}

const fail = (code: number, message: string) => new RegistryError(Math.floor(code / 100), code, message);

export const subjectNotFound = (subject: string) => fail(40401, `Subject '${subject}' not found.`);
export const versionNotFound = (version: number) => fail(40402, `Version ${version} not found.`);
export const schemaNotFound = (id?: number) => fail(40403, id === undefined ? 'Schema not found' : `Schema ${id} not found`);
export const subjectSoftDeleted = (subject: string) =>
  fail(40404, `Subject '${subject}' was soft deleted. Set permanent=true to delete permanently`);
export const subjectNotSoftDeleted = (subject: string) =>
  fail(40405, `Subject '${subject}' was not deleted first before being permanently deleted`);
export const versionSoftDeleted = (subject: string, version: number) =>
  fail(40406, `Subject '${subject}' Version ${version} was soft deleted. Set permanent=true to delete permanently`);
export const versionNotSoftDeleted = (subject: string, version: number) =>
  fail(40407, `Subject '${subject}' Version ${version} was not deleted first before being permanently deleted`);
export const compatibilityNotConfigured = (subject: string) =>
  fail(40408, `Subject '${subject}' does not have subject-level compatibility configured`);
export const modeNotConfigured = (subject: string) => fail(40409, `Subject '${subject}' does not have subject-level mode configured`);
export const invalidSchema = (detail: string) => fail(42201, detail);
export const invalidVersion = (version: string) =>
  fail(
    42202,
    `The specified version '${version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string "latest"`,
  );
export const invalidCompatibility = (detail: string) => fail(42203, detail);
export const invalidMode = () => fail(42204, 'Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, and IMPORT');
export const notPermitted = (detail: string) => fail(42205, detail);
export const referenceExists = (subject: string, version: number, ids: readonly number[]) =>
  fail(42206, `One or more references exist to the schema {subject=${subject},version=${version}}: schema ids ${ids.join(', ')}`);
export const invalidSubject = (subject: string, why: string) =>
  fail(42208, `The specified subject '${subject}' is not a valid subject: ${why}.`);
export const schemaTooLarge = () => fail(42209, 'Register operation failed because schema is too large');
export const storeFailed = (detail: string) => fail(50001, detail);
export const timedOut = (detail: string) => fail(50002, detail);
export const overloaded = (waiting: number) =>
  new RegistryError(503, 50301, `Too many writes are waiting (${waiting}); send this one again later`, 1);

/** Confluent sends the bare status as the code of an incompatible schema. */
export const incompatible = (subject: string, messages: readonly string[]) =>
  new RegistryError(
    409,
    409,
    `Schema being registered is incompatible with an earlier schema for subject "${subject}", details: [${messages.join(', ')}]`,
  );
