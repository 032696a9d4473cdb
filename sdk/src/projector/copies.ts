import { setTimeout as sleep } from 'node:timers/promises';
import { CopyArrivalSchema, type ReadModelAlias, type ReadModelCopy } from '@spool/schemas';
import { backOffMs, type Instance, type Offset, type RunningProcessor } from '@spool/streams';
import type { Aliases } from '../registry/aliases.js';
import { createComparer } from './compare-copies.js';
import { furthest, isAt, offsets, type Copy } from './copy.js';
import type { ReadModel } from './read-model.js';
import { switchedModel } from './switched-model.js';

export interface CopiesOptions {
  readonly instance: Instance;
  readonly aliases: Aliases;
  /** Of the projector, without a copy. */
  readonly consumer: string;
  /** Names of its tables. */
  readonly tables: readonly string[];
  /** @param silentFor the replay for which a copy is kept that does not answer; undefined of the one that does */
  readonly start: (copy: ReadModelCopy, silentFor: () => string | undefined) => Promise<Copy>;
}
export interface Copies extends AsyncDisposable {
  readonly model: ReadModel;
  /** Of the copy that answers. */
  readonly processor: Pick<RunningProcessor, 'status' | 'caughtUp'>;
  /** Follows the alias no more; the copies go on until the instance closes. */
  close(): Promise<void>;
}

const first: ReadModelCopy = { id: '', replayId: null, starts: [], targets: [], instance: null };
const lookMs = 20;
/** How long the answers that are being made from a copy have before it goes. */
const answeringMs = 5000;

/**
 * Keeps the copies that the alias names, answers from the live one, and brings both to a cut when a hand-over is ordered. Everything follows from the
 * alias and the stores: whatever is killed goes on from there.
 */
export async function openCopies(options: CopiesOptions): Promise<Copies> {
  const { instance, aliases, consumer } = options;
  const running = new Map<string, Copy>();
  const stop = new AbortController();
  const comparer = createComparer(options);
  const arrivals = await instance.codec.encoder(instance.topics.replayJobs.name, CopyArrivalSchema);
  let liveId = aliases.get(consumer)?.live.id ?? '';

  const started = async (copy: ReadModelCopy): Promise<Copy> => {
    const known = running.get(copy.id);
    if (known !== undefined) return known;
    const made = await options.start(copy, () =>
      copy.id === liveId ? undefined : (aliases.get(consumer)?.replayId ?? copy.replayId ?? undefined),
    );
    running.set(copy.id, made);
    return made;
  };
  const model = switchedModel((await started(aliases.get(consumer)?.live ?? first)).model);
  const live = (): Copy => running.get(liveId)!;

  /** Both stand at one place, the cut or where the first of them was: what lies below was the old one's to act on, the rest is the next one's. */
  const arrive = async (row: ReadModelAlias, old: Copy, next: Copy, signal: AbortSignal): Promise<void> => {
    const both = [old, next];
    const come = async (place: ReadonlyMap<string, Offset>): Promise<void> => {
      for (const copy of both) await copy.processor.until(place);
      while (!both.every((copy) => isAt(copy, place))) await sleep(lookMs, undefined, { signal });
    };
    await come(offsets(row.cut));
    await come(furthest(both));
    const { replayId: job, generation } = row;
    const value = arrivals.encode({ job, instance: instance.id, generation, at: instance.now() });
    await instance.producer.send({ topic: instance.topics.replayJobs.name, key: `${job}/${consumer}/${instance.id}/arrival`, value });
  };

  /** @returns what goes on until the alias changes */
  const reconcile = async (row: ReadModelAlias): Promise<((signal: AbortSignal) => Promise<void>) | undefined> => {
    const { phase } = row;
    const { id, instance: only } = row.standby ?? first;
    const answering = await started(row.live);
    const other = row.standby === null || (only !== null && only !== instance.id) ? undefined : await started(row.standby);
    // Whose turn it is to act is settled before either goes on.
    liveId = row.live.id;
    model.switchTo(answering.model);
    const cut = phase === 'handover' || phase === 'kept' ? offsets(row.cut) : undefined;
    await other?.processor.until(cut);
    await answering.processor.until(phase === 'kept' ? undefined : cut);
    for (const [known, copy] of running) {
      if (known === liveId || (other !== undefined && known === id)) continue;
      await model.unread(copy.model, answeringMs);
      running.delete(known);
      await instance.drop(copy.processor);
    }
    if (other === undefined) return undefined;
    if (phase === 'handover') return (signal) => arrive(row, answering, other, signal);
    if (phase === 'comparing') return (signal) => comparer.compare(row.replayId, answering, other, signal);
    return undefined;
  };

  let wake = (): void => undefined;
  let current = new AbortController();
  const forget = aliases.onChange((changed) => {
    if (changed !== consumer) return;
    current.abort();
    wake();
  });
  const follow = async (): Promise<void> => {
    let done = -1;
    for (let failures = 0; !stop.signal.aborted;) {
      const row = aliases.get(consumer);
      if (row === undefined || row.generation === done) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (stop.signal.aborted || (aliases.get(consumer)?.generation ?? done) !== done) resolve();
        });
        continue;
      }
      current = new AbortController();
      const signal = AbortSignal.any([current.signal, stop.signal]);
      try {
        await (
          await reconcile(row)
        )?.(signal);
        done = row.generation;
        failures = 0;
      } catch (error) {
        if (signal.aborted) continue;
        instance.log('warn', 'the copies of a read model do not yet stand as ordered', { consumer, error: String(error) });
        await sleep(backOffMs(failures++), undefined, { signal }).catch(() => undefined);
      }
    }
  };
  // A copy that answers elsewhere already is known before anybody asks here.
  const following = follow();

  let closing: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closing ??= (async () => {
      forget();
      stop.abort();
      wake();
      await following;
    })());
  return {
    model,
    processor: {
      status: () => live().processor.status(),
      caughtUp: (signal) =>
        model.withLive((asked) => [...running.values()].find((copy) => copy.model === asked)!.processor.caughtUp(signal)),
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
