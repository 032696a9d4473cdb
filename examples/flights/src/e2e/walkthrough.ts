/** Runs the commands of a Markdown page and compares what they print with what the page shows; CONTRIBUTING.md tells writers how. */
import { spawn } from 'node:child_process';

/** A fenced `sh` block, and the block of another language right below it: what it prints. */
export interface Step {
  /** Where the command begins in the page, from 1. */
  readonly line: number;
  readonly command: string;
  /** Undefined when the page shows none: then the command has to end well, and may print anything. */
  readonly output: string | undefined;
  /** What `<!-- varies: … -->` above the output names, besides what `masked` knows. */
  readonly varies: RegExp | undefined;
}

const fence = /^```(\w*)\n([^]*?)^```$/gm;
const comment = /<!-- varies: (.+) -->\s*$/;

/** @param addresses what the page prints, such as `127.0.0.1:8080`, and what stands for it here, in commands and outputs alike */
export function stepsOf(page: string, addresses: Readonly<Record<string, string>>): readonly Step[] {
  const blocks = [...page.matchAll(fence)].map((block) => ({
    language: block[1]!,
    text: Object.entries(addresses).reduce((text, [printed, real]) => text.replaceAll(printed, real), block[2]!),
    start: block.index,
    end: block.index + block[0].length,
  }));
  return blocks.flatMap((block, index) => {
    if (block.language !== 'sh') return [];
    const next = blocks[index + 1];
    const between = next === undefined ? '' : page.slice(block.end, next.start);
    const varies = comment.exec(between)?.[1];
    const belongs = next !== undefined && next.language !== 'sh' && between.replace(comment, '').trim() === '';
    return {
      line: page.slice(0, block.start).split('\n').length + 1,
      command: block.text,
      output: belongs ? next.text.trim() : undefined,
      varies: varies === undefined ? undefined : new RegExp(varies, 'gm'),
    };
  });
}

export interface WalkOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly timeoutMs: number;
}

const endOfStep = '-- end of step --';

/**
 * Runs the steps in one shell, so that a variable or function of one is there for the next.
 * @returns what each of them printed
 * @throws Error when a command ends with another code than 0, or all together take longer than `timeoutMs`
 */
export async function walk(steps: readonly Step[], { cwd, env, timeoutMs }: WalkOptions): Promise<readonly string[]> {
  const script = steps.map(({ command }) => `${command}\nprintf '\\n%s\\n' '${endOfStep}'\n`).join('');
  const shell = spawn('bash', ['-c', `set -euo pipefail\n${script}`], { cwd, env, timeout: timeoutMs, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  let complaints = '';
  shell.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
  shell.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    shell.once('error', reject);
    shell.once('close', resolve);
  });
  const outputs = printed.split(`${endOfStep}\n`).map((text) => text.trim());
  const last = outputs.pop();
  if (code === 0) return outputs;
  const step = steps[outputs.length];
  throw new Error(`line ${String(step?.line)} ended with ${String(code)}:\n${step?.command ?? ''}\n${last ?? ''}\n${complaints}`);
}

/** What differs from run to run wherever it stands. Anything else that does is named above the block. */
const volatile: Readonly<Record<string, RegExp>> = {
  id: /\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g,
  trace: /\b[0-9a-f]{32}\b/g,
  span: /\b[0-9a-f]{16}\b/g,
  time: /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g,
  position: /(?<="position": ?")[\w-]+(?=")/g,
  partition: /(?<="partition": ?)\d+\b/g,
  offset: /(?<="(?:offset|start|current|target)": ?")\d+(?=")/g,
};
/** Equal ones have to be equal again: an event carries the id of its command. */
const identities = new Set(['id', 'trace', 'span']);

/** The text with what varies made equal: two runs of one command agree when their masked outputs are the same. */
export function masked(text: string, varies?: RegExp): string {
  const own = varies === undefined ? text : text.replace(varies, '<varies>');
  return Object.entries(volatile).reduce((masking, [kind, pattern]) => {
    const seen = new Map<string, number>();
    return masking.replace(pattern, (found) => {
      if (!identities.has(kind)) return `<${kind}>`;
      if (!seen.has(found)) seen.set(found, seen.size + 1);
      return `<${kind} ${seen.get(found)!}>`;
    });
  }, own);
}
