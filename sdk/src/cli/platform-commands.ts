import { Option, type Command } from 'commander';
import type { ProgramContext } from './context.js';
import { orderConsumer, showConsumer, showConsumers } from './consumer-commands.js';
import { showEvents, type EventOptions } from './event-commands.js';
import { openPlatformApi, type PlatformApi } from './platform-api.js';
import type { Screen } from './printing.js';
import { orderReplay, show, showReplays, startReplay, waitFor, type ReplayOptions } from './replay-commands.js';

interface Common {
  readonly url?: string;
  readonly apiKey?: string;
  readonly json?: true;
}
const defaultUrl = 'http://127.0.0.1:8080';
const examples = (...lines: readonly string[]): string => `\nExamples:\n${lines.map((line) => `  spool ${line}\n`).join('')}`;

/** Adds what is done through the HTTP API of a platform. @param failed is told that what was waited for has not come right */
export function addPlatformCommands(program: Command, { env, out, err, signal, columns }: ProgramContext, failed: () => void): void {
  const open = ({ url, apiKey, json }: Common): { readonly api: PlatformApi; readonly screen: Screen } => ({
    api: openPlatformApi({ url: url ?? env['SPOOL_URL'] ?? defaultUrl, apiKey: apiKey ?? env['SPOOL_API_KEY'], signal }),
    screen: { out, err, columns, json: json === true },
  });
  const command = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .option('--url <url>', `of the platform; else SPOOL_URL, else ${defaultUrl}`)
      .option('--api-key <key>', 'or a token of the identity provider; else SPOOL_API_KEY')
      .option('--json', 'as JSON, for programs');
  const several = (value: string, before: readonly string[] = []): string[] => [...before, value];

  command('replay', 'orders a replay of a read model')
    .argument('<target>', 'a component, or a consumer')
    .requiredOption('--reason <text>', 'why; kept in the audit log')
    .option('--with <names>', 'others that are replayed together with it, with commas')
    .addOption(new Option('--mode <mode>', 'how').choices(['rewind', 'shadow', 'scratch']).default('rewind'))
    .option('--from <place>', 'earliest, a time, or JSON as the API takes it', 'earliest')
    .option('--to <place>', 'rewind: what comes there is not handled again')
    .option('--types <names>', 'rewind: only events of these types, with commas')
    .addOption(new Option('--skip-types <names>', 'rewind: all but these').conflicts('types'))
    .option('--keys <ids>', 'rewind: only events of these aggregates, with commas')
    .addOption(new Option('--skip-keys <ids>', 'rewind: all but these').conflicts('keys'))
    .option('--rate <n>', 'at most so many records per second')
    .option('--reset', 'rewind: empty the read model first')
    .option('--dry-run', 'say what would be replayed, and do nothing')
    .addOption(new Option('--wait', 'until it has ended, or is ready to be promoted').conflicts('dryRun'))
    .addHelpText('after', examples('replay Totals --mode scratch --reason "rehearse the fix" --wait', 'replay Totals --reason x --dry-run'))
    .action(async (target: string, options: ReplayOptions & Common) => {
      const { api, screen } = open(options);
      if (!(await startReplay(api, screen, target, options))) failed();
    });
  command('replays', 'lists the replays, shows one, or orders something of one')
    .argument('[id]', 'of a replay')
    .argument('[order]', 'pause, resume, throttle, cancel, promote, rollback, drop; report, differences')
    .argument('[value]', 'of throttle: records per second, or none')
    .option('--wait', 'until it has ended, or is ready to be promoted')
    .addHelpText('after', examples('replays', 'replays <id> report', 'replays <id> throttle 500', 'replays <id> promote --wait'))
    .action(async (id: string | undefined, order: string | undefined, value: string | undefined, options: Common & { wait?: true }) => {
      const { api, screen } = open(options);
      if (id === undefined) return showReplays(screen, (await api.get<{ items: Parameters<typeof showReplays>[1] }>('/replays')).items);
      if (order !== undefined) await orderReplay(api, screen, id, order, value, options.wait === true);
      if (options.wait === true && !(await waitFor(api, screen, id))) failed();
      else if (order === undefined && options.wait !== true) show(screen, await api.get(`/replays/${encodeURIComponent(id)}`));
    });
  command('events', 'shows the events of an aggregate, finds events, or follows them as they come')
    .argument('[aggregate]', 'its type')
    .argument('[id]', 'its id')
    .option('--id <id>', 'the event with this id')
    .option('--type <name>', 'only events of this type; may come several times', several)
    .option('--from <place>', 'not before this time; followed: also earliest, now, or a position')
    .option('--to <time>', 'before this time')
    .option('--limit <n>', 'at most so many; else 50, or followed, without end')
    .option(
      '--steps',
      'of an aggregate, or of the flow --correlation: the state before and after each event; without --json: what it changed',
    )
    .option('--follow', 'as they come, until it is stopped')
    .option('--correlation <id>', 'of one flow')
    .option('--contains <text>', 'somewhere in the JSON of the payload')
    .option('--where <path=value>', 'a field of the payload; may come several times', several)
    .addHelpText(
      'after',
      examples('events Flight f1 --steps', 'events Flight --where route.from=VIE', 'events --follow --from earliest --json'),
    )
    .action((aggregate: string | undefined, id: string | undefined, options: EventOptions & Common) => {
      const { api, screen } = open(options);
      return showEvents(api, screen, [aggregate, id], options);
    });
  command('consumers', 'lists the consumers, shows one, or orders something of one')
    .argument('[id]', 'of a consumer, or the name of its component')
    .argument('[order]', 'pause, resume, step, rate, seek, reset; dead-letters, retry, discard')
    .argument('[value]', 'of step: records; of rate: records per second, or none; of seek: a place; of retry and discard: a key')
    .option('--reason <text>', 'why; kept in the audit log')
    .addHelpText('after', examples('consumers', 'consumers Totals pause --reason "the database moves"', 'consumers Totals dead-letters'))
    .action(
      async (
        id: string | undefined,
        order: string | undefined,
        value: string | undefined,
        options: Common & { readonly reason?: string },
      ) => {
        const { api, screen } = open(options);
        if (id === undefined) return showConsumers(api, screen);
        if (order === undefined) return showConsumer(api, screen, id);
        if (!(await orderConsumer(api, screen, id, order, value, options.reason))) failed();
      },
    );
}
