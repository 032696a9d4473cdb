import { parseArgs } from 'node:util';
import { SpoolError } from '@spool/schemas';
import { isRole } from '../roles.js';
import { addApiKey, listApiKeys, revokeApiKey } from './key-file.js';

const usage = `usage: api-keys add --file <path> --name <name> --role <role> [--role <role>] [--expires <time>]
       api-keys list --file <path>
       api-keys revoke --file <path> --id <id>
roles: admin, operator, analyst, bundle`;

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      file: { type: 'string' },
      name: { type: 'string' },
      role: { type: 'string', multiple: true },
      expires: { type: 'string' },
      id: { type: 'string' },
    },
  });
  await run(positionals[0], values);
} catch (error) {
  console.error(error instanceof SpoolError || error instanceof TypeError ? error.message : error);
  process.exitCode = 1;
}

interface Values {
  readonly file?: string | undefined;
  readonly name?: string | undefined;
  readonly role?: readonly string[] | undefined;
  readonly expires?: string | undefined;
  readonly id?: string | undefined;
}

async function run(action: string | undefined, { file, name, role = [], expires, id }: Values): Promise<void> {
  if (file === undefined) throw new TypeError(usage);
  if (action === 'add' && name !== undefined) {
    const [first, ...others] = role.filter(isRole);
    const expiresAt = expires === undefined ? undefined : new Date(expires);
    if (first === undefined || others.length + 1 !== role.length || Number.isNaN(expiresAt?.getTime())) throw new TypeError(usage);
    const added = await addApiKey(file, { name, roles: [first, ...others], ...(expiresAt === undefined ? {} : { expiresAt }) });
    console.log(added.key);
    console.error(`Key ${added.id} for ${name}. It is not shown again; ${file} holds its hash.`);
  } else if (action === 'list') {
    for (const key of await listApiKeys(file)) {
      console.log(`${key.id}  ${key.roles.join(',')}  ${key.createdAt}  ${key.expiresAt ?? 'never expires'}  ${key.name}`);
    }
  } else if (action === 'revoke' && id !== undefined) {
    if (!(await revokeApiKey(file, id))) throw new TypeError(`${file} has no key ${id}`);
  } else {
    throw new TypeError(usage);
  }
}
