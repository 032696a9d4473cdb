import { setTimeout as sleep } from 'node:timers/promises';
import { offset, type Assignment, type MembershipOptions } from './port.js';
import { until } from './conformance/stage.js';
import { createMemoryCluster } from './memory/connect.js';

const groupId = 'group';
const topics = ['orders'];

async function clusterWithTopic() {
  const cluster = createMemoryCluster();
  const kafka = cluster.connect();
  await kafka.admin.ensureTopics([{ name: 'orders', partitions: 2, cleanup: 'delete', retentionMs: -1 }]);
  return { cluster, kafka };
}

/** Notes what it is told, in order. */
function listener(rest: Partial<MembershipOptions> = {}): MembershipOptions & { readonly events: string[] } {
  const events: string[] = [];
  return {
    events,
    groupId,
    topics,
    onLost: () => events.push('lost'),
    ...rest,
    onAssigned: async (assignment, signal) => {
      events.push(`assigned ${assignment.partitions.length}`);
      await rest.onAssigned?.(assignment, signal);
    },
    onRebalance: async () => {
      events.push('rebalance');
      await rest.onRebalance?.();
    },
  };
}

describe('membership', () => {
  it('has begun no assignment when it is handed out', async () => {
    const { kafka } = await clusterWithTopic();
    const told = listener();
    const membership = await kafka.membership(told);
    expect(told.events).toEqual([]);
    await until(() => told.events.length === 1);
    expect(membership.assignment?.partitions).toHaveLength(2);
    await kafka.close();
  });

  it('says that it was lost when its session ends without notice, and joins again as another member', async () => {
    const { cluster, kafka } = await clusterWithTopic();
    const told = listener();
    const membership = await kafka.membership(told);
    await until(() => membership.assignment !== undefined);
    const former = membership.assignment!;
    cluster.endSession(groupId, former.memberId);
    await expect(membership.commitOffsets([{ topic: 'orders', partition: 0, offset: offset(1) }])).rejects.toMatchObject({
      code: 'PRODUCER_FENCED',
    });
    await until(() => told.events.length === 3);
    expect(told.events).toEqual(['assigned 2', 'lost', 'assigned 2']);
    expect(membership.assignment?.memberId).not.toBe(former.memberId);
    await kafka.close();
  });

  it.each([
    ['the group', 10_000, 50],
    ['the member itself', 50, 60_000],
  ])('is lost when it does not stop in time by the patience of %s', async (_, ownMs, othersMs) => {
    const { kafka } = await clusterWithTopic();
    let times = 0;
    let release: () => void = () => undefined;
    const stuckOnce = () => (times++ === 0 ? new Promise<void>((resolve) => (release = resolve)) : Promise.resolve());
    const stuck = listener({ rebalanceTimeoutMs: ownMs, onRebalance: stuckOnce });
    const first = await kafka.membership(stuck);
    await until(() => first.assignment !== undefined);
    const second = await kafka.membership(listener({ rebalanceTimeoutMs: othersMs }));
    await until(() => first.assignment?.partitions.length === 1 && second.assignment?.partitions.length === 1);
    expect(stuck.events).toEqual(['assigned 2', 'rebalance', 'lost', 'assigned 1']);
    release();
    await kafka.close();
  });

  it('waits for a start that is under way before it stops, and aborts its signal', async () => {
    const { kafka } = await clusterWithTopic();
    const order: string[] = [];
    const first = listener({
      onAssigned: (assignment: Assignment, signal) =>
        new Promise((resolve) => {
          if (assignment.generation > 1) resolve();
          signal.addEventListener('abort', () => {
            setTimeout(() => {
              order.push('start ends');
              resolve();
            }, 20);
          });
        }),
      onRebalance: () => Promise.resolve(void order.push('stop begins')),
    });
    await kafka.membership(first);
    await until(() => first.events.length === 1);
    await kafka.membership(listener());
    await until(() => first.events.includes('assigned 1'));
    expect(order).toEqual(['start ends', 'stop begins']);
    await kafka.close();
  });

  it('goes on when a callback throws', async () => {
    const { kafka } = await clusterWithTopic();
    const told = listener({
      onRebalance: () => {
        throw new TypeError('a defect in the handler');
      },
    });
    const first = await kafka.membership(told);
    await until(() => first.assignment !== undefined);
    const second = await kafka.membership(listener());
    await until(() => first.assignment?.partitions.length === 1 && second.assignment?.partitions.length === 1);
    await second.close();
    await until(() => first.assignment?.partitions.length === 2);
    await kafka.close();
  });

  it('can be closed while it waits for others to join', async () => {
    const { kafka } = await clusterWithTopic();
    const slow = listener({ onRebalance: () => sleep(100) });
    const first = await kafka.membership(slow);
    await until(() => first.assignment !== undefined);
    const refused = expect(kafka.membership(listener())).rejects.toMatchObject({ code: 'KAFKA_UNAVAILABLE' });
    await until(() => slow.events.includes('rebalance'));
    await kafka.close();
    await refused;
  });
});
