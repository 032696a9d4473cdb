import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SpoolError } from '@spool/schemas';
import type { Bundle } from '../bundle/bundle.js';

/**
 * The bundle that a module exports.
 * @param where a file or a package, seen from `folder`, with `#export` where it has several bundles; an export may be a function that gives one
 * @throws SpoolError NOT_FOUND, INVALID_REQUEST
 */
export async function loadBundle(where: string, folder: string): Promise<Bundle> {
  const hash = where.lastIndexOf('#');
  const [module, name] = hash < 0 ? [where, undefined] : [where.slice(0, hash), where.slice(hash + 1)];
  const exported = await load(module, folder);
  if (name !== undefined) {
    const found =
      bundleOf(exported[name]) ?? bundleOf(typeof exported[name] === 'function' ? (exported[name] as () => unknown)() : undefined);
    if (found === undefined) throw new SpoolError('NOT_FOUND', `${module} exports no bundle ${name}; it exports ${namesOf(exported)}`);
    return found;
  }
  const bundles = Object.entries(exported).flatMap(([each, value]) =>
    bundleOf(value) === undefined ? [] : [[each, bundleOf(value)!] as const],
  );
  const chosen = bundles.find(([each]) => each === 'default') ?? bundles[0];
  if (chosen === undefined) {
    throw new SpoolError(
      'NOT_FOUND',
      `${module} exports no bundle; name a function that gives one, as in ${module}#name. It exports ${namesOf(exported)}`,
    );
  }
  if (chosen[0] !== 'default' && bundles.length > 1) {
    throw new SpoolError(
      'INVALID_REQUEST',
      `${module} exports several bundles: choose one of ${bundles.map(([each]) => `${module}#${each}`).join(', ')}`,
    );
  }
  return chosen[1];
}

async function load(module: string, folder: string): Promise<Readonly<Record<string, unknown>>> {
  const file = resolve(folder, module);
  let path: string;
  try {
    path = existsSync(file) ? createRequire(join(folder, 'x')).resolve(file) : createRequire(join(folder, 'x')).resolve(module);
  } catch (cause) {
    throw new SpoolError('NOT_FOUND', `there is no module ${module} in ${folder}`, { cause });
  }
  return (await import(pathToFileURL(path).href)) as Readonly<Record<string, unknown>>;
}

function bundleOf(value: unknown): Bundle | undefined {
  const { id, version, components, interceptors } = (value ?? {}) as Partial<Bundle>;
  const is = typeof id === 'string' && typeof version === 'string' && Array.isArray(components) && Array.isArray(interceptors);
  return is ? (value as Bundle) : undefined;
}

const namesOf = (exported: object): string => Object.keys(exported).join(', ') || 'nothing';
