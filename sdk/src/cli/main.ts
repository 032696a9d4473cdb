#!/usr/bin/env node
/** The command line `spool`. */
import { runProgram } from './program.js';

const stop = new AbortController();
for (const event of ['SIGTERM', 'SIGINT'] as const) process.once(event, () => stop.abort());
// Whoever reads has enough, as `head` has.
process.stdout.on('error', () => stop.abort());
const code = await runProgram(process.argv.slice(2), {
  env: process.env,
  folder: process.cwd(),
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  columns: process.stderr.isTTY ? process.stderr.columns : undefined,
  signal: stop.signal,
});
process.exitCode = code;
