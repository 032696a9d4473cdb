import { SpoolError, toSpoolError } from '@spool/schemas';
import { acquireLease, backOffMs, platformBundle, type Lease, type LeaseInstance, type TopicSpec } from '@spool/streams';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Instances } from '../cluster/instances.js';
import { failAll, openReplies, type Replies, type ReplyListener } from './replies.js';

export interface LeasedRepliesOptions {
  readonly instance: LeaseInstance;
  readonly topic: TopicSpec;
  readonly instances: Instances;
  /**
   * `required`: there are no replies without a lease. `preferred`: where no process of the platform is there to grant one, a slot is shared until
   * there is; that costs the sharers the reading of each other's replies, and nothing else.
   */
  readonly lease: 'required' | 'preferred';
  /** How long to wait for a lease, in milliseconds. @default 30000 */
  readonly withinMs?: number;
}

export interface LeasedReplies extends Replies {
  /** False while a slot is shared for want of a lease. */
  readonly held: boolean;
}

const retireLookMs = 1000;

/**
 * Replies on a slot of the pool that this process alone has, by a lease. A lease that is lost is taken anew, on another slot where need be;
 * meanwhile replies come by the old one, which is safe: whoever has it now passes over what is not its own.
 * @throws SpoolError UNAVAILABLE when a lease is required and there is none
 */
export async function openLeasedReplies(options: LeasedRepliesOptions): Promise<LeasedReplies> {
  const { instance, topic, instances } = options;
  const { kafka, codec, log, now } = instance;
  await kafka.admin.ensureTopics([topic]);
  const stop = new AbortController();
  const retired = new Set<Replies>();
  /** They hear what comes by any slot: a subscription moves with the lease. */
  const listeners = new Map<string, ReplyListener>();
  let lease: Lease | undefined;
  let regaining: Promise<void> | undefined;

  const granted = (): boolean => options.lease === 'required' || instances.live(platformBundle).length > 0;
  const acquire = async (): Promise<Lease> =>
    acquireLease(
      instance,
      { pool: topic.name, slots: topic.partitions },
      {
        onLost() {
          log('warn', 'the lease of the reply slot is lost; another is taken', { topic: topic.name });
          regain();
        },
        signal: stop.signal,
        ...(options.withinMs === undefined ? {} : { withinMs: options.withinMs }),
      },
    );
  const openAt = (slot: number): Promise<Replies> =>
    openReplies({
      kafka,
      codec,
      topic,
      slot,
      now,
      listeners,
      onError: (error) => log('warn', 'replies cannot be read', { error: String(error) }),
    });
  const regain = (): void => {
    regaining ??= (async () => {
      for (let failures = 0; !stop.signal.aborted; failures++) {
        try {
          if (granted()) {
            lease = await acquire();
            await move(lease.slot!);
            return;
          }
        } catch (thrown) {
          log('warn', 'no reply slot could be leased; it is tried again', { topic: topic.name, error: toSpoolError(thrown).message });
        }
        await sleep(Math.max(1000, backOffMs(failures)), undefined, { signal: stop.signal }).catch(() => undefined);
      }
    })().finally(() => (regaining = undefined));
  };
  const move = async (slot: number): Promise<void> => {
    if (current.address.partition === slot) return;
    const next = await openAt(slot);
    retired.add(current);
    current = next;
  };
  /** Whoever still waits for a reply by a former slot gets it. */
  const retire = setInterval(() => {
    for (const former of retired) {
      if (former.waiting > 0) continue;
      retired.delete(former);
      void former.close();
    }
  }, retireLookMs);

  let current: Replies;
  try {
    if (granted()) {
      lease = await acquire().catch((thrown: unknown) => {
        if (options.lease === 'required') throw thrown;
        log('warn', 'no reply slot could be leased; one is shared', { topic: topic.name, error: toSpoolError(thrown).message });
        return undefined;
      });
    }
    current = await openAt(lease?.slot ?? sharedSlot(instance.id, topic.partitions));
    if (lease === undefined) regain();
  } catch (thrown) {
    clearInterval(retire);
    await lease?.close();
    throw thrown;
  }

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      clearInterval(retire);
      stop.abort();
      await regaining;
      failAll(listeners, new SpoolError('UNAVAILABLE', 'the gateway was closed'));
      for (const each of [current, ...retired]) await each.close();
      await lease?.close();
    })());
  return {
    get address() {
      return current.address;
    },
    get waiting() {
      let { waiting } = current;
      for (const former of retired) waiting += former.waiting;
      return waiting;
    },
    get held() {
      return lease?.held === true;
    },
    wait: (messageId, deadline, sent) => current.wait(messageId, deadline, sent),
    listen: (messageId, listener) => current.listen(messageId, listener),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Where nobody grants, instances spread by their names. */
function sharedSlot(instance: string, slots: number): number {
  let hash = 0;
  for (const char of instance) hash = (hash * 31 + char.codePointAt(0)!) >>> 0;
  return hash % slots;
}
