import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { record } from '@spool/schemas';
import { aggregate } from '../aggregate/aggregate.js';
import { bundle } from '../bundle/bundle.js';
import { observer } from '../observer/observer.js';
import { Counter } from './counter.js';

/** Counts what it is told of each event, however often. */
export const Heard = aggregate('Heard', {
  commands: { Hear: record('heard.Hear', { n: 'int' }) },
  events: { Told: record('heard.Told', { n: 'int' }) },
  initial: () => ({}),
  decide: { Hear: ({ n }) => [{ type: 'Told', data: { n } }] },
  evolve: { Told: (state) => state },
});
/** How long each event is being handled, in milliseconds: longer than it takes until a place is committed. */
const handlingMs = 1500;

/** An observer that writes `begin|end <event id> <by>` to a file, and sends a command between the two. */
export const watching = (file: string, by: string) =>
  bundle({
    id: 'watching',
    version: '1.0.0',
    components: [
      observer('Watch', {
        of: Counter,
        sends: [Heard],
        on: {
          async Added({ n }, { eventId, commands }) {
            appendFileSync(file, `begin ${eventId} ${by}\n`);
            await sleep(handlingMs);
            await commands.send(Heard, 'Hear', eventId, { n });
            appendFileSync(file, `end ${eventId} ${by}\n`);
          },
        },
      }),
    ],
  });
