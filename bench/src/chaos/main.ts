/** `npm run chaos`: starts a broker, does its worst, and says what it found. Ends with 1 when something is lost, doubled, wrong or late. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { startKafka } from '@spool/embedded';
import { startRegistryServer } from '@spool/schemas/testing';
import { chaosRegistry } from '@spool/services/chaos';
import { chaosBank } from './bank/bank.js';
import { bankTamperings } from './bank/tampering.js';
import { chaosCommands } from './commands/commands.js';
import { chaosLeader } from './commands/leader.js';
import { chaosEngine } from './engine.js';
import { chaosGateway, type NodeDisturbance } from './gateway/gateway.js';
import { replayTamperings } from './replay/counting.js';
import { chaosReplay } from './replay/replay.js';
import { chaosRolling } from './rolling/rolling.js';
import { commandTamperings, tamperings } from './instance/tampering.js';
import { chaosSink } from './sink/sink.js';
import { sinkTamperings } from './sink/tampering.js';
import { chaosStandby } from './standby.js';

const usage = `npm run chaos -- engine [--seed n] [--kills 50] [--records 200000] [--standbys 0] [--writer-per-task] [--tamper ${tamperings.join('|')}] [--quick]
npm run chaos -- commands [--seed n] [--kills 20] [--commands 50000] [--clients 64] [--writer-per-task] [--tamper ${commandTamperings.join('|')}] [--quick]
npm run chaos -- bank [--seed n] [--kills 20] [--transfers 2000] [--tamper ${bankTamperings.join('|')}] [--quick]
npm run chaos -- leader [--seed n] [--seconds 60] [--clients 64] [--quick]
npm run chaos -- standby [--keys 1000000] [--session 1000] [--quick]
npm run chaos -- sink [--seed n] [--kills 100] [--restarts 10] [--records 2000000] [--tamper ${sinkTamperings.join('|')}] [--quick]
npm run chaos -- replay [--seed n] [--promotes 100] [--passes 12] [--tamper ${replayTamperings.join('|')}] [--quick]
npm run chaos -- gateway [--records 100000] [--quick]
npm run chaos -- rolling [--clients 1000] [--restarts 3] [--kills 4] [--quick]
npm run chaos -- registry [--seed n] [--seconds 120] [--quick]`;
/** How soon after a new leader commands are to go on. */
const resumeMs = 5000;
/** After which a broker that dies has lived. */
const steadyMs = 10_500;
/** What a take-over with a standby may take. */
const takeOverMs = 3000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: 'string' },
    restarts: { type: 'string' },
    kills: { type: 'string' },
    records: { type: 'string' },
    commands: { type: 'string' },
    clients: { type: 'string' },
    transfers: { type: 'string' },
    standbys: { type: 'string' },
    keys: { type: 'string' },
    seconds: { type: 'string' },
    session: { type: 'string' },
    promotes: { type: 'string' },
    passes: { type: 'string' },
    tamper: { type: 'string' },
    'writer-per-task': { type: 'boolean' },
    quick: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
const quick = values.quick === true;
const number = (given: string | undefined, otherwise: number): number => (given === undefined ? otherwise : Number(given));
const seed = number(values.seed, Date.now() % 1_000_000);
const killsOr = (otherwise: number): number => number(values.kills, quick ? 5 : otherwise);
const kills = killsOr(50);
const recordsOr = (otherwise: number): number => number(values.records, quick ? 20_000 : otherwise);
const records = recordsOr(200_000);
const restarts = number(values.restarts, quick ? 3 : 10);
const standbys = number(values.standbys, 0);
const keys = number(values.keys, quick ? 20_000 : 1_000_000);
const secondsOr = (otherwise: number): number => number(values.seconds, quick ? 10 : otherwise);
const seconds = secondsOr(120);
const sessionTimeoutMs = number(values.session, 1000);
const commands = number(values.commands, quick ? 5000 : 50_000);
const clients = number(values.clients, 64);
const transfers = number(values.transfers, quick ? 300 : 2000);
const promotes = number(values.promotes, quick ? 10 : 100);
const passes = number(values.passes, quick ? 3 : 12);
const replayTampering = replayTamperings.find((name) => name === values.tamper);
const tampering = tamperings.find((name) => name === values.tamper);
const commandTampering = commandTamperings.find((name) => name === values.tamper);
const sinkTampering = sinkTamperings.find((name) => name === values.tamper);
const bankTampering = bankTamperings.find((name) => name === values.tamper);
const transactions = values['writer-per-task'] === true ? 'partition' : 'instance';
const progress = (line: string): void => console.error(line);

async function engine(brokers: readonly string[], dataDir: string): Promise<boolean> {
  console.log(`seed ${seed}: ${kills} kills while ${records} records are counted`);
  const began = performance.now();
  const found = await chaosEngine({
    brokers,
    dataDir,
    seed,
    kills,
    records,
    keys: 1000,
    standbys: standbys === 0 ? 0 : 1,
    transactions,
    deadlineMs: 120_000 + kills * 10_000,
    ...(tampering === undefined ? {} : { tampering }),
    progress,
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `every one of ${records} records was counted once, and output, changelog and stores agree (${seconds} s)`
      : `${found.length} differences (${seconds} s); again with --seed ${seed}`,
  );
  return found.length === 0;
}

/** Clients send commands with exact expected versions to instances that come and go. */
async function commandsRun(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const kills = killsOr(20);
  console.log(`seed ${seed}: ${kills} kills while ${clients} clients send ${commands} commands`);
  const began = performance.now();
  const found = await chaosCommands({
    brokers,
    dataDir,
    seed,
    kills,
    commands,
    clients,
    aggregates: 500,
    transactions,
    deadlineMs: 120_000 + kills * 10_000,
    ...(commandTampering === undefined ? {} : { tampering: commandTampering }),
    progress,
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `what ${clients} clients were told of ${commands} commands agrees with the log (${seconds} s)`
      : `${found.length} violations (${seconds} s); again with --seed ${seed}`,
  );
  return found.length === 0;
}

/** Money goes between accounts while the instances of the bank come and go. */
async function bank(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const kills = killsOr(20);
  console.log(`seed ${seed}: ${kills} kills during ${transfers} transfers`);
  const began = performance.now();
  const tampering = bankTampering === undefined ? {} : { tampering: bankTampering };
  const found = await chaosBank({ brokers, dataDir, seed, kills, transfers, deadlineMs: 120_000 + kills * 10_000, ...tampering, progress });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `${transfers} transfers ended, and no money was made or lost (${seconds} s)`
      : `${found.length} violations (${seconds} s); again with --seed ${seed}`,
  );
  return found.length === 0;
}

/** Three brokers, of which the leader of a partition is killed and stays away. */
async function leader(_: readonly string[], dataDir: string): Promise<boolean> {
  const awayMs = 1000 * secondsOr(60);
  console.log(
    `seed ${seed}: the leader of a partition is killed and stays away for ${awayMs / 1000} s while ${clients} clients send commands`,
  );
  const report = await chaosLeader({ kafka, dataDir, seed, awayMs, clients, rate: 300, progress });
  for (const line of report.found.slice(0, 50)) console.log(line);
  console.log(`another leader ${report.electedMs} ms after the kill; the first command ${report.afterElectionMs} ms after that`);
  if (report.found.length === 0) console.log('nothing acknowledged was lost');
  return report.found.length === 0 && report.afterElectionMs <= resumeMs;
}

async function standby(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const options = { brokers, keys, sessionTimeoutMs, progress };
  const cold = await chaosStandby({ ...options, standbys: 0, dataDir: await mkdtemp(join(dataDir, 'cold-')) });
  const warm = await chaosStandby({ ...options, standbys: 1, dataDir: await mkdtemp(join(dataDir, 'warm-')) });
  // Both wait for the session to end; what is left is the restore.
  const rate = keys / Math.max(0.001, (cold - warm) / 1000);
  console.log(`${keys} keys, session ${sessionTimeoutMs} ms, from the kill to the first new result:`);
  console.log(`  with a standby    ${(warm / 1000).toFixed(2)} s`);
  console.log(`  without a standby ${(cold / 1000).toFixed(2)} s, the difference being a restore at ${Math.round(rate)} rows/s`);
  return warm <= takeOverMs;
}

/** Ten instances of three bundles come and go, and the process that projects them is stopped and killed. */
async function registry(brokers: readonly string[], dataDir: string): Promise<boolean> {
  console.log(`seed ${seed}: ten instances of three bundles come and go for ${seconds} s`);
  const schemas = await startRegistryServer();
  try {
    const report = await chaosRegistry({
      brokers: [...brokers],
      schemaRegistryUrl: schemas.url,
      namespace: '',
      dataDir,
      seed,
      seconds,
      kills: true,
      log: progress,
    });
    const equal = isDeepStrictEqual(report.projected, report.expected);
    console.log(
      Object.entries(report.actions)
        .map(([action, times]) => `${action} ${times}`)
        .join(', '),
    );
    for (const violation of report.violations.slice(0, 50)) console.log(violation);
    if (!equal) console.log(JSON.stringify({ expected: report.expected, projected: report.projected }, undefined, 2));
    const good = equal && report.violations.length === 0;
    console.log(good ? 'the projected registry and cluster equal the model' : `they differ; again with --seed ${seed}`);
    return good;
  } finally {
    await schemas[Symbol.asyncDispose]();
  }
}

/** Four producers write telemetry and events; the sinks that store them come and go, and ClickHouse too. */
async function sink(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const kills = killsOr(100);
  const records = recordsOr(2_000_000);
  console.log(`seed ${seed}: ${kills} kills of the sink and ${restarts} of ClickHouse while ${records} records are stored`);
  const began = performance.now();
  const deadlineMs = 180_000 + (kills + restarts) * 10_000;
  const found = await chaosSink({ brokers, dataDir, seed, kills, restarts, records, deadlineMs, tampering: sinkTampering, progress });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `each of ${records} records is stored once, in every rollup too, or in the quarantine (${seconds} s)`
      : `${found.length} differences (${seconds} s); again with --seed ${seed}`,
  );
  return found.length === 0;
}

/** Replays of each mode, while the service, workers and the broker are killed at each step; and hand-overs under load. */
async function replay(brokers: readonly string[], dataDir: string): Promise<boolean> {
  let brokerSince = Date.now();
  console.log(`seed ${seed}: ${promotes} hand-overs, then ${passes} replays, at each step of which something is killed`);
  const began = performance.now();
  const found = await chaosReplay({
    ...{ brokers, dataDir, seed, promotes, passes, progress },
    async killBroker() {
      // Who dies again and again soon after its start is given up by its supervisor.
      await sleep(Math.max(0, brokerSince + steadyMs - Date.now()));
      await kafka.kill(0);
      await kafka.untilReady(60_000);
      brokerSince = Date.now();
    },
    events: 3000,
    deadlineMs: 120_000 + promotes * 3000 + passes * 90_000,
    ...(replayTampering === undefined ? {} : { tampering: replayTampering }),
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `each replay ended right, and every row and every effect is there once (${seconds} s)`
      : `${found.length} differences (${seconds} s); again with --seed ${seed}`,
  );
  return found.length === 0;
}

/** Two gateways are restarted in order, and then killed, while callers send commands over HTTP. */
async function rolling(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const callers = number(values.clients, quick ? 100 : 1000);
  const rounds = number(values.restarts, quick ? 1 : 3);
  const kills = number(values.kills, quick ? 1 : 4);
  console.log(`${callers} callers, while two gateways are restarted ${rounds} times each, and killed ${kills} times`);
  const began = performance.now();
  const deadlineMs = 120_000 + (2 * rounds + kills) * 60_000;
  const found = await chaosRolling({ brokers, dataDir, callers, restarts: rounds, kills, deadlineMs, progress });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  console.log(
    found.length === 0
      ? `no restart lost a reply, and each command was done once (${seconds} s)`
      : `${found.length} differences (${seconds} s)`,
  );
  return found.length === 0;
}

/** Events between four nodes, of which one is stopped, one killed and one cut off, over both ways. */
async function gateway(brokers: readonly string[], dataDir: string): Promise<boolean> {
  const events = number(values.records, quick ? 20_000 : 100_000);
  const canBeCut = spawnSync('unshare', ['--map-root-user', '--net', 'ip', 'link', 'set', 'lo', 'up']).status === 0;
  if (!canBeCut) console.log('no node is cut off: this system gives no network namespaces (unshare, ip)');
  const once = (forMs: number): readonly NodeDisturbance[] => [
    { kind: 'stop', forMs },
    ...(canBeCut ? [{ kind: 'cut' as const, forMs }] : []),
    { kind: 'kill', forMs: forMs / 4 },
  ];
  const way = (kind: 'http' | 'kafka'): NodeDisturbance => ({ kind, forMs: 0 });
  const rounds = quick
    ? [way('http'), ...once(2000)]
    : [...once(3000), way('http'), ...once(3000), way('kafka'), way('http'), ...once(12_000), way('kafka')];
  console.log(`${events} durable and ${events} transient events among four nodes, and ${rounds.length} disturbances`);
  const began = performance.now();
  const perSecond = quick ? 400 : 300;
  const { found, calm, disturbed } = await chaosGateway({
    ...{ brokers, dataDir, events, perSecond, disturbances: rounds, ownNetwork: canBeCut, deadlineMs: 600_000, progress },
  });
  const seconds = Math.round((performance.now() - began) / 1000);
  for (const line of found.slice(0, 50)) console.log(line);
  const told = (name: string, { events: count, p50, p99 }: typeof calm): void =>
    console.log(`durable events ${name}: p50 ${p50} ms, p99 ${p99} ms (${count} events)`);
  told('in calm', calm);
  told('of the other nodes, while one was stopped, cut off or killed', disturbed);
  console.log(
    found.length === 0
      ? `durable events came once and in order, and every transient one that did not come is counted (${seconds} s)`
      : `${found.length} differences (${seconds} s)`,
  );
  return found.length === 0;
}

const runs = { gateway, rolling, engine, commands: commandsRun, bank, leader, standby, sink, replay, registry };
const tamperingOf: Readonly<Record<string, string | undefined>> = {
  engine: tampering,
  commands: commandTampering,
  bank: bankTampering,
  sink: sinkTampering,
  replay: replayTampering,
};
const run = positionals.length === 1 ? Object.entries(runs).find(([name]) => name === positionals[0])?.[1] : undefined;
const isBad =
  ![seed, kills, restarts, records, commands, clients, transfers, promotes, passes, standbys, keys, seconds, sessionTimeoutMs].every(
    (n) => Number.isInteger(n) && n >= 0,
  ) ||
  (values.tamper !== undefined && tamperingOf[positionals[0] ?? ''] === undefined);
if (values.help === true || run === undefined || isBad) {
  console.error(usage);
  process.exit(values.help === true ? 0 : 2);
}
const dataDir = await mkdtemp(join(tmpdir(), 'spool-chaos-'));
const kafka = await startKafka({ dataDir: join(dataDir, 'kafka'), brokers: run === leader ? 3 : 1, log: progress });
try {
  process.exitCode = (await run(kafka.bootstrap, dataDir)) ? 0 : 1;
} finally {
  await kafka.close();
  await rm(dataDir, { recursive: true, force: true });
}
