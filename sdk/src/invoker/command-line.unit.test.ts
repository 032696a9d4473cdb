import { createCodec, createMemoryRegistry } from '@spool/schemas';
import { createMemoryKafka } from '@spool/streams';
import { bundle } from '../bundle/bundle.js';
import type { Intercepted } from '../interceptor/interceptor.js';
import { only } from '../messages.js';
import { Counter, counting, Sums } from '../testing/counter.js';
import { startInMemory } from '../testing/start-in-memory.js';
import { runCommandLine } from './command-line-host.js';
import { commandLine, parseArguments } from './command-line.js';

const intercepted: Pick<Intercepted, 'kind' | 'messageKind' | 'payload'>[] = [];
const Import = commandLine('Import', {
  arguments: {
    to: { type: 'string', doc: 'id of the counter' },
    times: { type: 'number', default: 1 },
    twice: { type: 'boolean' },
    note: { type: 'string', optional: true },
  },
  sends: [only(Counter, 'Add')],
  asks: [Sums],
  async run({ to, times, twice }, { commands, queries, log }) {
    let position = '';
    for (let n = 0; n < times; n++) ({ position } = await commands.send(Counter, 'Add', to, { n: twice ? 2 : 1 }));
    log('imported', (await queries.ask(Sums, 'Total', {}, { after: position })).view);
  },
});
const whole = bundle({
  id: 'counting',
  version: '1.0.0',
  components: [...counting.components, Import],
  interceptors: [{ before: ({ kind, messageKind, payload }) => void intercepted.push({ kind, messageKind, payload }) }],
});
const signal = new AbortController().signal;

describe('a commandLine invoker', () => {
  it('runs by hand, as a client of what is running, and not with the bundle', async () => {
    await using running = await startInMemory(whole);
    const { kafka, codec } = running.running.instance;
    const logged: unknown[] = [];
    const log = (_: string, message: string, fields?: object): void => void logged.push({ message, ...fields });
    await runCommandLine(whole, 'Import', ['--to', 'a', '--times', '2', '--twice'], { kafka, codec, log, signal });
    expect(logged).toContainEqual({ message: 'imported', invoker: 'Import', events: 2, sum: 4 });
    expect(await running.events()).toMatchObject([{ data: { n: 2 } }, { data: { n: 2 } }]);
    expect(intercepted).toContainEqual({
      kind: 'invoker',
      messageKind: 'request',
      payload: { to: 'a', times: 2, twice: true, note: undefined },
    });
  });

  it('takes its arguments by their names and types', () => {
    expect(parseArguments(Import, ['--to', 'a'])).toEqual({ to: 'a', times: 1, twice: false, note: undefined });
    expect(parseArguments(Import, ['--to=a', '--times=2.5', '--no-twice', '--note', 'x'])).toEqual({
      to: 'a',
      times: 2.5,
      twice: false,
      note: 'x',
    });
  });

  it('says everything that is wrong with its arguments, and what it takes', () => {
    const usage = 'It takes --to <string>: id of the counter; --times <number>; --twice; --note <string>';
    expect(() => parseArguments(Import, ['--times', 'two'])).toThrow(
      `Import: --to is missing; --times must be a number, not "two". ${usage}`,
    );
    expect(() => parseArguments(Import, ['--of', 'a'])).toThrow(`Import: Unknown option '--of'. ${usage}`);
    expect(() => parseArguments(Import, ['a'])).toThrow(/^Import: Unexpected argument 'a'/);
  });

  it('is refused a name that is none', async () => {
    await using kafka = createMemoryKafka();
    const codec = createCodec({ registry: createMemoryRegistry() });
    await expect(runCommandLine(whole, 'Export', [], { kafka, codec, signal })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: 'counting has no commandLine invoker Export; it has Import',
    });
  });
});
