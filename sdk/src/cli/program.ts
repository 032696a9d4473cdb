import { SpoolError, toSpoolError } from '@spool/schemas';
import { topicCatalogue, type Log } from '@spool/streams';
import { Command, CommanderError } from 'commander';
import { z } from 'zod';
import { describe } from '../bundle/describe.js';
import { runCommandLine } from '../invoker/command-line-host.js';
import { connectPlatform, platformSettings, readEnvironment } from '../settings/settings.js';
import type { ProgramContext } from './context.js';
import { describeText } from './describe-text.js';
import { loadBundle } from './load-bundle.js';
import { isRefusal } from './platform-api.js';
import { addPlatformCommands } from './platform-commands.js';

const environment = z.object({
  SCHEMA_REGISTRY_URL: z.url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://' }),
});

/** Runs one command line. @param args without the program's name. @returns the exit code: 0, 1 when it failed, 2 when it was not understood */
export async function runProgram(args: readonly string[], context: ProgramContext): Promise<number> {
  const { out, err, folder } = context;
  const program = new Command('spool')
    .description('Works with bundles of the Spool platform, and with a platform that runs.')
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err });
  program
    .command('describe')
    .description('prints what a bundle is made of, as JSON')
    .argument('<module>', 'built JavaScript, or a package, that exports the bundle; #export chooses one, or a function that gives one')
    .option('--text', 'as a tree for people')
    .option('--namespace <prefix>', 'of the topics, with its dot', '')
    .action(async (module: string, { text, namespace }: { text?: true; namespace: string }) => {
      const descriptor = describe(await loadBundle(module, folder), topicCatalogue({ namespace }));
      out(text === true ? describeText(descriptor) : `${JSON.stringify(descriptor, null, 2)}\n`);
    });
  program
    .command('invoke')
    .description('runs a commandLine invoker of a bundle, on the platform that KAFKA_BROKERS and SCHEMA_REGISTRY_URL name')
    .argument('<module>', 'as for describe')
    .argument('<invoker>', 'its name')
    .argument('[arguments...]', 'its arguments, after --')
    .action((module: string, name: string, given: readonly string[]) => invoke(context, module, name, given));
  let code = 0;
  addPlatformCommands(program, context, () => (code = 1));
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (thrown) {
    // The program has said it already.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    const error = toSpoolError(thrown);
    err(`${error.code}: ${error.message}\n`);
    for (const { pointer, message } of error.violations) err(`  ${pointer}: ${message}\n`);
    if (isRefusal(error) || error.entry.retryable !== 'never') err(`${error.entry.remedy}\n`);
    return thrown instanceof SpoolError && error.code === 'INVALID_REQUEST' && !isRefusal(error) ? 2 : 1;
  }
}

async function invoke({ env, folder, err, signal }: ProgramContext, module: string, name: string, given: readonly string[]): Promise<void> {
  const bundle = await loadBundle(module, folder);
  const { SCHEMA_REGISTRY_URL: schemaRegistryUrl } = readEnvironment(environment, env);
  const log: Log = (level, message, fields) => err(`${JSON.stringify({ level, message, ...fields })}\n`);
  const settings = platformSettings(env);
  const { kafka, codec, topics } = await connectPlatform({ ...settings, schemaRegistryUrl, clientId: `${bundle.id}-${name}`, log });
  try {
    await runCommandLine(bundle, name, given, { kafka, codec, namespace: topics.namespace, log, signal });
  } finally {
    await kafka.close();
  }
}
