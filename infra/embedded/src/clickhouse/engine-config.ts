import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folders and files below the data folder. */
export interface EngineFiles {
  readonly data: string;
  /** Bodies of inserts, one file each while it runs. */
  readonly uploads: string;
  readonly config: string;
}

/**
 * The engine in process runs everything as one user. It does know roles, and grants hold where the `readonly` setting does not
 * (`SELECT * FROM (SELECT … SETTINGS readonly = 0)` undoes the latter for a subquery): readers get the role `analyst`, without any source.
 */
const users = `<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <roles>
    <writer><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></writer>
    <analyst><grants><query>GRANT SELECT, SHOW, dictGet ON *.*</query></grants></analyst>
  </roles>
  <users>
    <default>
      <password/>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants><query>GRANT writer, analyst</query></grants>
    </default>
  </users>
</clickhouse>
`;

const xml = (text: string): string => text.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);

/** Writes the engine's configuration anew. */
export function prepareFiles(dataDir: string): EngineFiles {
  const files = { data: join(dataDir, 'data'), uploads: join(dataDir, 'uploads'), config: join(dataDir, 'config.xml') };
  for (const folder of [files.data, files.uploads]) mkdirSync(folder, { recursive: true });
  const usersFile = join(dataDir, 'users.xml');
  writeFileSync(usersFile, users);
  writeFileSync(
    files.config,
    `<clickhouse>
  <users_config>${xml(usersFile)}</users_config>
  <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
</clickhouse>
`,
  );
  return files;
}

/** Removes what a killed process left; to be called once the engine holds the data folder. */
export function emptyUploads({ uploads }: EngineFiles): void {
  for (const name of readdirSync(uploads)) rmSync(join(uploads, name));
}
