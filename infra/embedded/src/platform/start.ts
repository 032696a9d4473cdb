import type { SpoolError } from '@spool/schemas';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Log } from '../log.js';
import { assertPortsFree } from '../supervisor/ports.js';
import type { SupervisedChild } from '../supervisor/supervise.js';
import { wantedPorts, type PlatformConfig } from './config.js';
import { takeDataFolder, type Deleted } from './data-folder.js';
import { addresses, builtEntries, platformParts, withoutPassword, type Entries } from './parts.js';
import { followBalance } from './follow-balance.js';
import { mendSilent } from './mend-silent.js';
import { line, narrator, runParts } from './run-parts.js';

export interface PlatformOptions {
  /** What of the data folder is deleted first. @default 'nothing' */
  readonly deleted?: Deleted;
  /** Starts the example bundles. @default true */
  readonly demo?: boolean;
  /** Aborting it stops everything, also while it starts. */
  readonly signal?: AbortSignal;
  /** What children inherit: PATH and whatever else they read. @default nothing */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** @default the files that `tsc -b` makes in this repository */
  readonly entries?: Entries;
}

export interface Platform extends AsyncDisposable {
  readonly urls: ReturnType<typeof addresses>;
  readonly children: readonly SupervisedChild[];
  /** Resolves with the error of a part without which the platform cannot go on; with undefined when closed. */
  readonly failed: Promise<SpoolError | undefined>;
  /** Stops the children in order, then lets go of the data folder. */
  close(): Promise<void>;
}

/** The children of a platform that was killed end within their stop bounds; a little less is usual. */
const leftBehindMs = 35_000;

/**
 * Starts the platform on this machine; resolves when all of it is ready, with a line in `log` for each part.
 * @throws SpoolError INVALID_CONFIG (a data folder in use or not Spool's), PORT_IN_USE with every taken port, or why a part cannot start.
 */
export async function startPlatform(config: PlatformConfig, log: Log, options: PlatformOptions = {}): Promise<Platform> {
  const { demo = true, env = {}, entries = builtEntries, signal = new AbortController().signal } = options;
  const folder = takeDataFolder(config.dataDir, options.deleted);
  try {
    if (folder.leftBehind) log('the last platform on this folder was killed; its children are given time to end');
    await assertPortsFree(wantedPorts(config), folder.leftBehind ? leftBehindMs : 0);
    // Nothing of it is stored, so it may be another one at each start; who wants to write sets one.
    const clickhousePassword = env.SPOOL_CLICKHOUSE_WRITER_PASSWORD ?? randomUUID();
    const keyed = { ...env, SPOOL_CLUSTER_KEY: env.SPOOL_CLUSTER_KEY ?? randomBytes(32).toString('base64url') };
    const parts = platformParts(config, { entries, demo, env: keyed, clickhousePassword }, log);
    const running = await runParts(parts, log, signal);
    const urls = addresses(config);
    tellReady(urls, config, log);
    const followers = parts.flatMap(({ name, startFurther }) => {
      if (startFurther === undefined) return [];
      const onState = narrator(log);
      const start = (instance: string, stop: AbortSignal) => startFurther(instance, { signal: stop, onState });
      return [followBalance({ gateway: urls.gateway, bundle: name, start, log })];
    });
    const children = (): readonly SupervisedChild[] => [...running.children, ...followers.flatMap((follower) => follower.children)];
    const mending = mendSilent({ gateway: urls.gateway, children, log });
    const close = async (): Promise<void> => {
      await mending.close();
      await Promise.all(followers.map((follower) => follower.close()));
      await running.close();
      folder.release();
    };
    return { urls, children: running.children, failed: running.failed, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    folder.release();
    throw error;
  }
}

function tellReady(urls: ReturnType<typeof addresses>, config: PlatformConfig, log: Log): void {
  log('ready');
  log(line('  gateway', urls.gateway));
  log(line('  clickhouse', withoutPassword(urls.clickhouse)));
  log(line('  schema registry', withoutPassword(urls.schemaRegistry)));
  log(line('  kafka', urls.kafka));
  log(line('  data', config.dataDir));
}
