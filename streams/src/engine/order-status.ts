import type { ControlOrder } from './control.js';
import type { OrderAnswer } from './work.js';

/** What the orders that came leave in force, for a processor of which no task can say it. */
export function inForce(orders: readonly ControlOrder[]): { readonly paused: boolean; readonly recordsPerSecond: number | undefined } {
  const flow = orders.findLast(({ action }) => action === 'pause' || action === 'resume' || action === 'rewind');
  const rate = orders.findLast(({ action }) => action === 'rate');
  return { paused: flow?.action === 'pause', recordsPerSecond: rate?.action === 'rate' ? rate.recordsPerSecond : undefined };
}

/** One answer for each order, whatever tasks it came from. */
export function joinedAnswers(answers: readonly OrderAnswer[]): readonly OrderAnswer[] {
  const byOrder = new Map<bigint, OrderAnswer>();
  for (const { order, refused, records, failed } of answers) {
    const known = byOrder.get(order);
    byOrder.set(order, {
      order,
      refused: known?.refused ?? refused,
      records: (known?.records ?? 0) + records,
      failed: known?.failed ?? failed,
    });
  }
  return [...byOrder.values()].sort((a, b) => Number(a.order - b.order));
}

/** What is committed of a partition: the position, and the last order that is in it. */
export const adviceOf = ({ position, metadata }: { readonly position: bigint; readonly metadata: string }): string =>
  `${position}/${metadata}`;
