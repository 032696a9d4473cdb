import { incompatibilities } from '../compatibility/levels.js';
import type { SchemaRegistry } from '../codec/registry.js';
import type { Contract } from '../generate/contracts.js';
import type { RecordDefinition } from '../avro/schema.js';
import { isDefinition } from '../avro/schema.js';
import { lint } from '../lint/lint.js';
import { suspectedRenames } from '../lint/renames.js';

export interface CheckedContract {
  readonly fullName: string;
  /** Subjects of the registry that hold versions of it, one for each topic. */
  readonly subjects: readonly string[];
  /** One sentence for each thing that is wrong. */
  readonly problems: readonly string[];
}

/** Lints every contract and, given a registry, compares each with every version that any topic has (FULL_TRANSITIVE). @throws as `SchemaRegistry.subjects`. */
export async function checkContracts(contracts: readonly Contract[], registry?: SchemaRegistry): Promise<readonly CheckedContract[]> {
  const subjects = (await registry?.subjects()) ?? [];
  return Promise.all(
    contracts.map(async ({ fullName, complete }) => {
      const own = subjects.filter((subject) => subject.endsWith(`-${fullName}`));
      const compared = await Promise.all(own.map((subject) => compare(subject, complete, registry!)));
      const linted = lint(complete).map(({ pointer, message }) => `${pointer === '' ? fullName : pointer}: ${message}`);
      return { fullName, subjects: own, problems: [...linted, ...compared.flat()] };
    }),
  );
}

async function compare(subject: string, schema: RecordDefinition, registry: SchemaRegistry): Promise<readonly string[]> {
  const versions = await registry.versions(subject);
  const last = versions.at(-1)?.schema;
  const renames =
    last !== undefined && isDefinition(last) && last.type === 'record' ? suspectedRenames(last as RecordDefinition, schema) : [];
  return [
    ...incompatibilities('FULL_TRANSITIVE', schema, versions),
    ...renames.map(({ pointer, message }) => `${pointer}: ${message}`),
  ].map((problem) => `${subject}: ${problem}`);
}
