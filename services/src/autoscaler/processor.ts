import {
  BalanceDecisionSchema,
  BalanceRowSchema,
  BundleSignalSchema,
  toSpoolError,
  type BalanceDecision,
  type BalanceRow,
  type BundleSignal,
} from '@spool/schemas';
import { rowsWork, type Instance, type ProcessorDefinition, type TaskRequest, type TaskWork } from '@spool/streams';
import { balancePrefix } from './balances.js';
import { decide, noMemory, type BalanceMemory } from './decide.js';
import { loadOf } from './load.js';
import type { Policies } from './policies.js';

const rowsTable = 'balances';
/** What was measured longer ago tells of a load that is over: after an outage the processor does not decide about the past. */
const freshMs = 30_000;
/** A decision that changes nothing is written down so often. */
const rememberMs = 60_000;

/**
 * Decides how many instances each bundle is to have, from what its instances signal; one decision for each heartbeat. The latest stands in
 * `autoscale.balances`, each that changes something in `autoscale.decisions`, and there once more with what became of it.
 */
export function autoscalerProcessor(instance: Instance, policies: Pick<Policies, 'of'>): ProcessorDefinition {
  const { topics } = instance;
  const consumer = `${topics.namespace}spool.autoscaler`;
  return {
    consumer,
    sources: [topics.autoscaleSignals.name],
    assignment: 'group',
    startAt: 'earliest',
    open: (task) => openTask(instance, policies, consumer, task),
  };
}

interface Heard {
  readonly signal: BundleSignal;
  readonly at: number;
}
interface Group {
  readonly since: number;
  readonly heard: Map<string, Heard>;
}

async function openTask(instance: Instance, policies: Pick<Policies, 'of'>, consumer: string, task: TaskRequest): Promise<TaskWork> {
  const { codec, topics, log, config } = instance;
  const changelog = { topic: topics.balances.name, partition: Number(task.id) };
  const rows = await codec.encoder(changelog.topic, BalanceRowSchema);
  const rowDecoder = codec.decoder(BalanceRowSchema);
  const decisions = await codec.encoder(topics.autoscaleDecisions.name, BalanceDecisionSchema);
  const signals = codec.decoder(BundleSignalSchema);
  // Not kept: after a restart everybody speaks again within two heartbeats, and nothing is decided before.
  const groups = new Map<string, Group>();

  const hear = (signal: BundleSignal, at: number): Group => {
    const group = groups.get(signal.bundle) ?? { since: at, heard: new Map<string, Heard>() };
    groups.set(signal.bundle, group);
    group.heard.set(signal.instance, { signal, at });
    const silentMs = config.current.heartbeatMs * config.current.suspectAfterMissed;
    for (const [id, other] of group.heard) if (at - other.at > silentMs) group.heard.delete(id);
    return group;
  };

  return rowsWork<BalanceRow>({
    instance,
    task,
    consumer,
    topic: changelog.topic,
    prefix: balancePrefix,
    table: rowsTable,
    idOf: (key) => key.slice(balancePrefix.length),
    decode: (value) => rowDecoder.decode(value),
    async handle(record, context) {
      if (record.value === null) return;
      let signal: BundleSignal;
      try {
        signal = await signals.decode(record.value);
      } catch (thrown) {
        // Parked, it would hold up every later signal of its bundle.
        if (toSpoolError(thrown).entry.retryable === 'backoff') throw thrown;
        log('warn', 'a signal cannot be read', { offset: String(record.offset), error: String(thrown) });
        return;
      }
      const { now } = context;
      if (now - signal.at > freshMs) return;
      const { heard, since } = hear(signal, now);
      const { heartbeatMs } = config.current;
      const table = context.table<BalanceRow>(rowsTable);
      const before = table.get(signal.bundle);
      // A little less than a heartbeat, which is never quite on time.
      if (now - since < 2 * heartbeatMs || (before !== undefined && now - before.decision.at < 0.8 * heartbeatMs)) return;

      const tell = (decision: BalanceDecision): void => {
        const value = decisions.encode(decision);
        context.emit({ ...changelog, topic: topics.autoscaleDecisions.name, key: decision.bundle, value });
      };
      const policy = policies.of(signal.bundle);
      const load = loadOf(
        [...heard.values()].map((each) => each.signal),
        now,
      );
      const { decision: made, memory } = decide({ ...load, frozen: load.frozen ?? undefined }, policy, memoryOf(before));
      const { at, ...inputs } = load;
      const decision: BalanceDecision = {
        id: `${signal.bundle}/${at}`,
        bundle: signal.bundle,
        ...made,
        predictedDrainMs: made.predictedDrainMs ?? null,
        actualDrainMs: null,
        min: policy.min,
        max: policy.max,
        ...inputs,
        at,
      };
      const isChange = decision.desired !== (before?.decision.desired ?? decision.current);
      const isDue = before === undefined || now - before.writtenAt >= rememberMs;
      if (isChange || isDue) tell(decision);
      let pending = before?.pending ?? null;
      // Drained: no more waits than comes within a second.
      if (pending !== null && load.frozen === null && load.lag <= load.arrivals) {
        tell({ ...pending, actualDrainMs: now - pending.at });
        pending = null;
      }
      const isRise = isChange && decision.desired > (pending?.desired ?? decision.current);
      if (isRise && load.lag > load.arrivals && decision.predictedDrainMs !== null) pending = decision;
      const row: BalanceRow = {
        decision,
        pending,
        writtenAt: isChange || isDue ? now : before.writtenAt,
        wanted: [...memory.wanted],
        capacity: memory.capacity ?? null,
        since: memory.since ?? null,
      };
      table.put(signal.bundle, row);
      context.emit({ ...changelog, key: balancePrefix + signal.bundle, value: rows.encode(row) });
    },
  });
}

const memoryOf = (row: BalanceRow | undefined): BalanceMemory =>
  row === undefined
    ? noMemory
    : { wanted: row.wanted, capacity: row.capacity ?? undefined, since: row.since ?? undefined, desired: row.decision.desired };
