import { existsSync, readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where a component stands in the code. */
export interface SourcePlace {
  /** Relative to the package that it is in, with slashes. */
  readonly file: string;
  readonly line: number;
}

/** The frame of the stack in which each component was made; its file is looked at only when somebody asks. */
const frames = new WeakMap<object, string>();

/** Notes from where a builder was called. @param builder the function that the bundle's author calls */
export function made<T extends object>(builder: CallableFunction, component: T): T {
  const here: { stack?: string } = {};
  Error.captureStackTrace(here, builder);
  const frame = here.stack?.split('\n')[1];
  if (frame !== undefined) frames.set(component, frame);
  return component;
}

/** Where a component was declared, in the source that its author wrote where there is a map to it; undefined where that is not known. */
export function sourceOf(component: object): SourcePlace | undefined {
  const match = /((?:file:\/\/|\/|[A-Za-z]:[\\/]).+?):(\d+):(\d+)\)?$/.exec(frames.get(component) ?? '');
  if (match === null) return undefined;
  try {
    const file = match[1]!.startsWith('file:') ? fileURLToPath(match[1]!) : match[1]!;
    const [path, line] = original(file, Number(match[2]), Number(match[3]));
    return { file: relative(packageOf(path), path).split(sep).join('/'), line };
  } catch {
    // A file that is not there any more, or a map that is none.
    return undefined;
  }
}

function original(file: string, line: number, column: number): readonly [file: string, line: number] {
  const map = `${file}.map`;
  if (!existsSync(map)) return [file, line];
  const entry = new SourceMap(JSON.parse(readFileSync(map, 'utf8')) as SourceMapPayload).findEntry(line - 1, column - 1);
  return 'originalSource' in entry ? [resolve(dirname(file), entry.originalSource), entry.originalLine + 1] : [file, line];
}

/** The nearest folder above with a package.json. */
function packageOf(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return dirname(file);
  }
}
