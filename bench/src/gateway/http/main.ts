/** A process of the HTTP bench by its role: the bare server, our own callers, or the outside tool. Messages in: what to do; out: what came of it. */
import { answerBare } from './bare.js';
import { cannon } from './cannon.js';
import { createCallers } from './callers.js';
import type { Order } from './orders.js';

const [role, config] = process.argv.slice(2).map((argument) => JSON.parse(argument) as unknown);
if (role === 'bare') process.send!(await answerBare(config as Parameters<typeof answerBare>[0]));
else {
  const take = role === 'cannon' ? cannon : createCallers();
  process.on('message', (order: Order) => {
    take(order).then(
      (taken) => process.send!(taken),
      (error: unknown) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
}
process.once('disconnect', () => process.exit(0));
