import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Account, Transfer, Transfers } from '@spool/bank';
import { superviseChild } from '@spool/embedded';
import { createCodec, createHttpRegistry, readMeta, type Codec, type SagaStep } from '@spool/schemas';
import { startRegistryServer } from '@spool/schemas/testing';
import { createGateway, openRegistry, openReplies, refoldSaga, type Gateway } from '@spool/sdk';
import { connectKafka, platformTopics, readTopic, topicCatalogue, type Kafka, type TopicCatalogue } from '@spool/streams';
import { nodeCommand } from '../../engine/start.js';
import { again, disturbAll, instances, plan, quietMs, sessionTimeoutMs } from '../disturbances.js';
import { insist } from '../insist.js';
import { randomOf } from '../random.js';
import { violations, type BankEvidence, type Logged } from './check.js';
import type { BankConfig } from './instance.js';
import type { BankTampering } from './tampering.js';

export interface BankChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  readonly seed: number;
  /** How often an instance is killed; a fifth as often, and once at least, one is stopped past its session. */
  readonly kills: number;
  readonly transfers: number;
  /** A violation on purpose. @default none */
  readonly tampering?: BankTampering;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

const accounts = 40;
/** Every fifth takes no deposit: what is sent there comes back. */
const isClosed = (account: number): boolean => account % 5 === 4;
const nameOf = (account: number): string => `account-${account}`;
const clients = 8;
const msPerDisturbance = 4000;
/** Nothing has been written for so long: it will not end. */
const stuckMs = 20_000;

/**
 * Random transfers between the accounts of a bank, some to closed ones, while its two instances are killed and stopped.
 * @returns what is wrong in the end; empty when no money was made or lost
 * @throws Error when it does not end in time
 */
export async function chaosBank(options: BankChaosOptions): Promise<readonly string[]> {
  const { seed, kills, transfers, brokers, dataDir, tampering, progress } = options;
  const namespace = `chaos-bank-${seed}-${Date.now().toString(36)}.`;
  const topics = topicCatalogue({ namespace });
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const codec = createCodec({ registry: createHttpRegistry({ url: schemas.url }) });
  const over = AbortSignal.timeout(options.deadlineMs);
  const children = await Promise.all(
    instances.map((instance) =>
      startProcess({ instance, brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, sessionTimeoutMs, tampering }),
    ),
  );
  try {
    await using producer = await kafka.producer();
    const onError = (): void => undefined;
    await using replies = await openReplies({ kafka, codec, topic: topics.replies('chaos'), slot: 0, now: Date.now, onError });
    await using registry = await openRegistry({ kafka, codec, topics, onError });
    const gateway = createGateway({ codec, topics, producer, replies, registry, source: 'chaos', now: Date.now });

    // 1. Accounts with money, and transfers while instances go.
    const random = randomOf(seed + 1);
    for (let account = 0; account < accounts; account++) await openAccount(gateway, account, over);
    const disturbances = plan(seed, kills, transfers);
    const pauseMs = Math.max(5, (disturbances.length * msPerDisturbance * clients) / transfers);
    let requested = 0;
    let answered = 0;
    const client = async (): Promise<void> => {
      while (requested < transfers) {
        const id = `t${requested++}`;
        const from = pick(random, (account) => !isClosed(account));
        const to = pick(random, (account) => account !== from);
        const transfer = { from: nameOf(from), to: nameOf(to), amount: 1 + Math.floor(random() * 400) };
        await insist(() => gateway.send(Transfer, 'RequestTransfer', id, transfer, { commandId: `request-${id}`, timeoutMs: 2000 }), over);
        answered += 1;
        await sleep(random() * 2 * pauseMs, undefined, { signal: over });
      }
    };
    const requesting = Promise.all(Array.from({ length: clients }, client));
    requesting.catch(() => undefined);
    await disturbAll({ children, plan: disturbances, answered: () => answered, over, progress });
    await requesting;

    // 2. All of them end, or nothing moves any more: then the check says what is missing.
    await untilEnded(kafka, topics, transfers, over);
    await Promise.all(children.map((child) => child.untilReady(quietMs)));
    await Promise.all(children.map((child) => child.close()));
    const evidence = await collect(kafka, codec, topics);
    progress(summaryOf(evidence));
    return [
      ...violations(evidence),
      ...(await refolded(evidence, codec)),
      ...(tally(evidence, 'TransferRequested') === transfers ? [] : ['transfers are missing']),
    ];
  } finally {
    await Promise.all(children.map((child) => child.close()));
  }
}

async function openAccount(gateway: Gateway, account: number, over: AbortSignal): Promise<void> {
  const id = nameOf(account);
  const sent = (what: string) => ({ commandId: `${what}-${id}`, timeoutMs: 5000 });
  await insist(() => gateway.send(Account, 'OpenAccount', id, { owner: id }, sent('open')), over);
  if (isClosed(account)) await insist(() => gateway.send(Account, 'CloseAccount', id, {}, sent('close')), over);
  else await insist(() => gateway.send(Account, 'PayIn', id, { amount: 1000 }, sent('pay')), over);
}

function pick(random: () => number, fits: (account: number) => boolean): number {
  for (;;) {
    const account = Math.floor(random() * accounts);
    if (fits(account)) return account;
  }
}

async function untilEnded(kafka: Kafka, topics: TopicCatalogue, transfers: number, over: AbortSignal): Promise<void> {
  let [before, since] = [-1, Date.now()];
  for (;;) {
    over.throwIfAborted();
    const steps = await readTopic(kafka, topics.events('Transfers').name);
    if (steps.filter(({ headers }) => headers['sagastate']?.toString() === 'ended').length >= transfers) break;
    if (steps.length !== before) [before, since] = [steps.length, Date.now()];
    if (Date.now() - since > stuckMs) return;
    await sleep(250);
  }
  // The last commands of the sagas are decided too.
  for (let last = -1n; ;) {
    const ends = await Promise.all(['Account', 'Transfer'].map((name) => kafka.admin.offsets(topics.events(name).name)));
    const sum = ends.flat().reduce((total, { latest }) => total + latest, 0n);
    if (sum === last) return;
    last = sum;
    await sleep(3 * sessionTimeoutMs);
  }
}

async function collect(kafka: Kafka, codec: Codec, topics: TopicCatalogue): Promise<BankEvidence> {
  const log: Logged[] = [];
  for (const source of ['Account', 'Transfer', 'Transfers'] as const) {
    for (const { key, value, headers } of await readTopic(kafka, topics.events(source).name)) {
      const { id: eventId = '', type = '', aggregateVersion: version = 0 } = readMeta(headers);
      log.push({ source, id: key!.toString(), eventId, version, type, data: (await codec.decodeAny(value!)).value });
    }
  }
  const sent = [
    ...(await readTopic(kafka, topics.commands('Account').name)),
    ...(await readTopic(kafka, topics.commands('Transfer').name)),
  ];
  return { log, commands: sent.map(({ headers }) => readMeta(headers).id ?? '') };
}

/** Every saga, folded again from its history, comes to the same. */
async function refolded({ log }: BankEvidence, codec: Codec): Promise<readonly string[]> {
  const histories = new Map<string, SagaStep[]>();
  for (const { source, id, data } of log) if (source === 'Transfers') histories.set(id, [...(histories.get(id) ?? []), data as SagaStep]);
  const found = [];
  for (const steps of histories.values()) found.push(...(await refoldSaga(Transfers, steps, codec)));
  return found;
}

const tally = ({ log }: BankEvidence, wanted: string): number => log.filter(({ type }) => type === wanted).length;
const summaryOf = (evidence: BankEvidence): string =>
  ['TransferRequested', 'TransferCompleted', 'TransferFailed', 'Refunded'].map((type) => `${tally(evidence, type)} ${type}`).join(', ');

const bankMain = fileURLToPath(new URL('main.js', import.meta.url));
const startProcess = (config: BankConfig) =>
  superviseChild({
    ...nodeCommand([bankMain, JSON.stringify(config)]),
    name: config.instance,
    logFile: join(config.dataDir, `${config.instance}.log`),
    restart: again,
  });
