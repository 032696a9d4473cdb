import { randomUUID } from 'node:crypto';
import { LeaseRequestSchema, LeaseRowSchema, SpoolError, type LeaseRequest, type LeaseRow } from '@spool/schemas';
import type { Instance } from '../instance/instance.js';
import { readTable, type TableReader } from '../table/table.js';
import { leasePrefix } from './grantor.js';

export type Wanted = { readonly name: string } | { readonly pool: string; readonly slots: number };

export interface LeaseOptions {
  /** How long to wait for it, in milliseconds. @default 30000 */
  readonly withinMs?: number;
  /** How long it stands without a renewal, in milliseconds; it is renewed three times as often. @default `leaseMs` of the cluster's settings */
  readonly ttlMs?: number;
  /** Called once, when it can no longer be taken for held; not after `close`. */
  readonly onLost?: () => void;
  readonly signal?: AbortSignal;
  /** A clock in milliseconds that is never set. @default performance.now */
  readonly elapsed?: () => number;
}

/** Something that one process has at a time. */
export interface Lease extends AsyncDisposable {
  readonly name: string;
  /** Of a pool. */
  readonly slot: number | undefined;
  /** Higher than that of every holder before: hand it to whatever must refuse a late one. */
  readonly epoch: number;
  /** False from a while before anybody else can get it. */
  readonly held: boolean;
  /** Gives it back. */
  close(): Promise<void>;
}

/** What a lease takes of an instance. */
export type LeaseInstance = Pick<Instance, 'id' | 'kafka' | 'codec' | 'topics' | 'producer' | 'now' | 'log' | 'config'>;

const askAgainMs = 500;
/** Renewals whose answers may still come. */
const maxUnanswered = 16;
/** What is left of the time when the holder lets go: for clocks that do not run alike. */
const safeShare = 0.9;

/**
 * Takes a lease, or any free slot of a pool, and keeps it renewed.
 * @throws SpoolError UNAVAILABLE when there is none within `withinMs`: it names the holders
 */
export async function acquireLease(instance: LeaseInstance, wanted: Wanted, options: LeaseOptions = {}): Promise<Lease> {
  const { kafka, codec, topics, producer, log } = instance;
  const { withinMs = 30_000, elapsed = () => performance.now() } = options;
  const requests = await codec.encoder(topics.leaseRequests.name, LeaseRequestSchema);
  const rows = codec.decoder(LeaseRowSchema);
  const table = await readTable<LeaseRow>({
    kafka,
    topic: topics.leases.name,
    prefix: leasePrefix,
    decode: (_, value) => rows.decode(value),
    onError: (error) => log('warn', 'a lease cannot be read', { error: String(error) }),
  });
  const holder = `${instance.id}/${randomUUID()}`;
  const asked = 'pool' in wanted ? { lease: wanted.pool, slots: wanted.slots } : { lease: wanted.name, slots: 0 };
  /** When each request was sent: what it grants counts from then, since the grantor's clock starts later. */
  const sent = new Map<string, { readonly at: number; readonly ttlMs: number }>();
  const send = async (request: Pick<LeaseRequest, 'action' | 'lease' | 'slots' | 'epoch'>): Promise<void> => {
    const id = randomUUID();
    const ttlMs = options.ttlMs ?? instance.config.current.leaseMs;
    sent.set(id, { at: elapsed(), ttlMs });
    if (sent.size > maxUnanswered) sent.delete(sent.keys().next().value!);
    const value = requests.encode({ ...request, id, holder, instance: instance.id, ttlMs, at: instance.now() });
    await producer.send({ topic: topics.leaseRequests.name, key: request.lease, value });
  };
  /** Until when the row stands for sure; undefined when it is not this holder's. */
  const until = (row: LeaseRow | undefined): number | undefined => {
    const request = row?.holder === holder ? sent.get(row.request) : undefined;
    return request === undefined ? undefined : request.at + request.ttlMs * safeShare;
  };

  try {
    const row = await granted(table, {
      find: () => [...table.entries()].map(([, each]) => each).find((each) => (until(each) ?? 0) > elapsed()),
      ask: () => send({ action: 'acquire', ...asked, epoch: 0 }),
      withinMs,
      signal: options.signal,
      none: () => noneOf(table, asked),
    });
    return keep(row);
  } catch (thrown) {
    // A grant that comes too late is of no use to anybody.
    await table.close();
    throw thrown;
  }

  function keep({ lease: name, epoch }: LeaseRow): Lease {
    let validUntil = until(table.get(leasePrefix + name))!;
    let over = false;
    let expiry: NodeJS.Timeout;
    let renewal: NodeJS.Timeout;
    const end = (): void => {
      over = true;
      clearTimeout(expiry);
      clearTimeout(renewal);
      forget();
    };
    const lose = (): void => {
      if (over) return;
      end();
      void table.close();
      options.onLost?.();
    };
    const watch = (): void => {
      clearTimeout(expiry);
      expiry = setTimeout(() => (validUntil <= elapsed() ? lose() : watch()), Math.max(1, validUntil - elapsed()));
    };
    const renew = (): void => {
      const ttlMs = options.ttlMs ?? instance.config.current.leaseMs;
      renewal = setTimeout(() => {
        send({ action: 'renew', lease: name, slots: 0, epoch }).catch((error: unknown) =>
          log('warn', 'a lease was not renewed; it is tried again', { lease: name, error: String(error) }),
        );
        renew();
      }, ttlMs / 3);
    };
    const forget = table.onChange((key, row) => {
      if (key !== leasePrefix + name || over) return;
      if (row?.holder !== holder || row.epoch !== epoch) lose();
      else {
        // It may be sooner than before: the settings have been changed, and the grantor goes by the latest.
        validUntil = until(row) ?? validUntil;
        watch();
      }
    });
    watch();
    renew();
    const close = async (): Promise<void> => {
      if (over) return;
      end();
      await send({ action: 'release', lease: name, slots: 0, epoch }).catch((error: unknown) =>
        log('warn', 'a lease was not given back; it ends by itself', { lease: name, error: String(error) }),
      );
      await table.close();
    };
    return {
      name,
      slot: 'pool' in wanted ? Number(name.slice(wanted.pool.length + 1)) : undefined,
      epoch,
      get held() {
        return !over && elapsed() < validUntil;
      },
      close,
      [Symbol.asyncDispose]: close,
    };
  }
}

interface Asking {
  readonly find: () => LeaseRow | undefined;
  readonly ask: () => Promise<void>;
  readonly withinMs: number;
  readonly signal: AbortSignal | undefined;
  readonly none: () => SpoolError;
}

/** Asks, and asks again when a lease became free or a while has passed, until a row answers. */
function granted(table: TableReader<LeaseRow>, { find, ask, withinMs, signal, none }: Asking): Promise<LeaseRow> {
  return new Promise((resolve, reject) => {
    const done = (then: () => void): void => {
      clearInterval(again);
      clearTimeout(deadline);
      forget();
      signal?.removeEventListener('abort', abort);
      then();
    };
    const fail = (error: unknown): void => done(() => reject(error instanceof Error ? error : new Error(String(error))));
    const request = (): void => void ask().catch(fail);
    const abort = (): void => fail(signal?.reason);
    const forget = table.onChange((_, row) => {
      const found = find();
      if (found !== undefined) done(() => resolve(found));
      else if (row?.holder === null) request();
    });
    const again = setInterval(request, askAgainMs);
    const deadline = setTimeout(() => fail(none()), withinMs);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    else request();
  });
}

function noneOf(table: TableReader<LeaseRow>, { lease, slots }: { lease: string; slots: number }): SpoolError {
  const held = [...table.entries()].flatMap(([, row]) =>
    row.holder !== null && (slots === 0 ? row.lease === lease : row.lease.startsWith(`${lease}/`)) ? [row.instance] : [],
  );
  const detail =
    held.length > 0 && held.length >= Math.max(1, slots)
      ? `the lease ${lease} is held by ${held.join(', ')}`
      : `nobody granted the lease ${lease}: no process of the platform answers`;
  return new SpoolError('UNAVAILABLE', detail, { retryAfterMs: 1000 });
}
