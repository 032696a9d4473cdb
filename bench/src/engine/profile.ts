import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** The functions with the most time of their own in all profiles of a folder, as text. */
export async function hottest(folder: string, most = 30): Promise<string> {
  const self = new Map<string, number>();
  let total = 0;
  for (const file of await readdir(folder)) {
    const { nodes, samples, timeDeltas } = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile;
    const names = new Map(
      nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => [
        id,
        `${functionName || '(anonymous)'}  ${url === '' ? '' : `${url.split('/').slice(-3).join('/')}:${lineNumber + 1}`}`,
      ]),
    );
    for (const [index, id] of samples.entries()) {
      const name = names.get(id)!;
      if (name.startsWith('(idle)')) continue;
      const spent = timeDeltas[index]!;
      self.set(name, (self.get(name) ?? 0) + spent);
      total += spent;
    }
  }
  const rows = [...self].sort(([, a], [, b]) => b - a).slice(0, most);
  const line = ([name, spent]: [string, number]): string => `  ${((100 * spent) / total).toFixed(1).padStart(5)} %  ${name}`;
  return [`time of its own in Spool's processes, ${(total / 1e6).toFixed(1)} s without idling`, ...rows.map(line)].join('\n');
}
