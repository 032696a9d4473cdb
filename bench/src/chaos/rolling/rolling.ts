import { setMaxListeners } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { clickHouseCommand, freePorts, superviseChild, type SupervisedChild } from '@spool/embedded';
import { startRegistryServer } from '@spool/schemas/testing';
import { connectKafka, platformTopics, topicCatalogue } from '@spool/streams';
import { nodeCommand } from '../../engine/start.js';
import { Account } from '../commands/account.js';
import { startAccountsProcess } from '../commands/commands.js';
import { readLog } from '../commands/log.js';
import { again, quietMs } from '../disturbances.js';
import { startCallers, type Answer, type CommandCall } from './callers.js';

export interface RollingChaosOptions {
  readonly brokers: readonly string[];
  readonly dataDir: string;
  readonly callers: number;
  /** How often both gateways are restarted in order, one after the other. */
  readonly restarts: number;
  /** How often, after that, one of them is killed. */
  readonly kills: number;
  /** All of it ends by then, in milliseconds, or has failed. */
  readonly deadlineMs: number;
  readonly progress: (line: string) => void;
}

/** As `npm start` runs it. */
const platformMain = fileURLToPath(new URL('../../../../services/dist/platform/main.js', import.meta.url));
const password = 'writer';
/** Answers between two restarts, so that callers are on both gateways. */
const settleMs = 2000;

/**
 * Callers send commands over HTTP to two gateways that are restarted in order, and then killed.
 * @returns what is wrong in the end: a reply that was lost by a restart in order, a command that was not answered, lost, or done twice
 */
export async function chaosRolling(options: RollingChaosOptions): Promise<readonly string[]> {
  const { brokers, dataDir, callers, restarts, kills, progress } = options;
  const namespace = `rolling-${Date.now().toString(36)}.`;
  const over = AbortSignal.timeout(options.deadlineMs);
  setMaxListeners(0, over);
  const topics = topicCatalogue({ namespace });
  await using schemas = await startRegistryServer();
  await using kafka = await connectKafka({ brokers, clientId: 'chaos' });
  await kafka.admin.ensureTopics(platformTopics(topics));
  const [clickhousePort, ...ports] = await freePorts(3);
  const opened: SupervisedChild[] = [];
  try {
    opened.push(
      await superviseChild({
        ...clickHouseCommand({ dataDir: join(dataDir, 'clickhouse'), port: clickhousePort!, writerPassword: password }),
        name: 'ClickHouse',
        ready: 'ipc',
      }),
    );
    const env = {
      ...{ ...process.env, KAFKA_BROKERS: brokers.join(','), SCHEMA_REGISTRY_URL: schemas.url, SPOOL_NAMESPACE: namespace },
      ...{ CLICKHOUSE_URL: `http://127.0.0.1:${clickhousePort}`, SPOOL_CLICKHOUSE_WRITER_PASSWORD: password },
    };
    const gateways: SupervisedChild[] = [];
    for (const [index, port] of ports.entries()) {
      const instance = `gateway-${index}`;
      const folder = join(dataDir, instance);
      await mkdir(folder, { recursive: true });
      const gateway = await superviseChild({
        ...nodeCommand([platformMain]),
        ...{ name: instance, logFile: join(dataDir, `${instance}.log`), restart: again },
        env: { ...env, SPOOL_INSTANCE: instance, SPOOL_HTTP_PORT: String(port), SPOOL_DATA_DIR: folder },
      });
      gateways.push(gateway);
      opened.push(gateway);
    }
    const account = { brokers, schemaRegistryUrl: schemas.url, namespace, dataDir, sessionTimeoutMs: 6000 };
    opened.push(await startAccountsProcess({ ...account, instance: 'accounts', transactions: 'instance', tampering: undefined }));
    for (const port of ports) await untilKnown(port, over);

    // 1. Restarts in order: nobody is to lose a reply by them.
    const orderly = startCallers({ ports, callers, over });
    await sleep(settleMs);
    for (let round = 0; round < restarts; round++) {
      for (const gateway of gateways) {
        await gateway.restart();
        await sleep(settleMs);
        progress(`${gateway.name} was restarted; ${orderly.answered} answers`);
      }
    }
    const restarted = await orderly.end();
    progress(`restarts: ${summaryOf(restarted)}`);
    // 2. Kills: a connection may be cut, but a command is done once, and its key tells what became of it.
    const rough = startCallers({ ports, callers, over });
    for (let kill = 0; kill < kills; kill++) {
      const gateway = gateways[kill % gateways.length]!;
      await sleep(settleMs);
      await gateway.kill();
      await gateway.untilReady(quietMs);
      progress(`${gateway.name} was killed; ${rough.answered} answers`);
    }
    const killed = await rough.end();
    progress(`kills: ${summaryOf(killed)}`);
    const log = await readLog(kafka, topics.events(Account.name).name);
    return [...lostReplies(restarted), ...differences([...restarted, ...killed], log)];
  } finally {
    for (const child of opened.toReversed()) await child.close();
  }
}

/** Resolves when a gateway has heard of the command. */
async function untilKnown(port: number, over: AbortSignal): Promise<void> {
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/registry/payloads`, { signal: over });
    if ((await response.text()).includes('"Post"')) return;
    await sleep(50);
  }
}

/** What was answered neither the first time nor by a refusal although it was done: its reply went astray. */
export const lostReplies = (calls: readonly CommandCall[]): readonly string[] =>
  calls.flatMap(({ commandId, attempts }) => {
    const indeterminate = attempts.some(({ answer }) => answer.kind === 'indeterminate');
    return indeterminate || attempts.at(-1)?.answer.kind === 'duplicate' ? [`${commandId}: lost a reply: ${kindsOf(attempts)}`] : [];
  });

/** Holds what callers were told against the log. */
export function differences(calls: readonly CommandCall[], log: readonly { readonly commandId: string }[]): readonly string[] {
  const times = new Map<string, number>();
  for (const { commandId } of log) times.set(commandId, (times.get(commandId) ?? 0) + 1);
  return calls.flatMap(({ commandId, attempts }) => {
    const last = attempts.at(-1)?.answer;
    if (last?.kind === 'wrong') return [`${commandId}: was answered ${last.what}`];
    if (last?.kind !== 'applied' && last?.kind !== 'duplicate') return [`${commandId}: never got an answer: ${kindsOf(attempts)}`];
    const events = times.get(commandId) ?? 0;
    return events === 1 ? [] : [`${commandId}: is in the log ${events} times: ${kindsOf(attempts)}`];
  });
}

const kindsOf = (attempts: CommandCall['attempts']): string =>
  attempts.map(({ gateway, answer }) => `${gateway} ${answer.kind}`).join(', ');

function summaryOf(calls: readonly CommandCall[]): string {
  const counts = new Map<Answer['kind'], number>();
  for (const { attempts } of calls) for (const { answer } of attempts) counts.set(answer.kind, (counts.get(answer.kind) ?? 0) + 1);
  return `${calls.length} commands: ${[...counts].map(([kind, count]) => `${count} ${kind}`).join(', ')}`;
}
