import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { namespaceOf } from '../commands/contenders/spool.js';
import { hottest } from '../engine/profile.js';
import type { Table } from '../report.js';
import { benchDirect } from './direct/bench.js';
import { benchFanout } from './fanout.js';
import { benchHttp } from './http/bench.js';
import { benchOutside } from './http/outside.js';
import { benchHttpOverload } from './http/overload.js';
import { startBenchedPlatform } from './http/platform.js';
import { benchPatterns } from './patterns.js';

/** `outside`: the load of `http` by a tool that nobody of ours has written; `direct`: calls from bundle to bundle. */
const platformParts = ['http', 'outside', 'overload', 'direct'] as const;
export const gatewayParts = ['patterns', 'fanout', ...platformParts] as const;
type GatewayPart = (typeof gatewayParts)[number];

export interface GatewayOptions {
  readonly brokers: readonly string[];
  /** Of the fan-out. */
  readonly clients: number;
  readonly events: number;
  /** Of the closed loops over HTTP. */
  readonly callers: readonly number[];
  readonly seconds: number;
  readonly rounds: number;
  /** @default all */
  readonly only?: readonly GatewayPart[];
  /** Also says where the time of the gateway goes. */
  readonly profile: boolean;
  readonly progress: (line: string) => void;
}

export async function benchGateway(options: GatewayOptions): Promise<readonly Table[]> {
  const { only = gatewayParts, seconds, rounds } = options;
  const tables: Table[] = [];
  if (only.includes('patterns')) tables.push(benchPatterns({ patterns: 10_000, seconds: seconds / 2, rounds }));
  if (only.includes('fanout')) tables.push(...(await benchFanout(options)));
  if (platformParts.some((part) => only.includes(part))) tables.push(...(await overHttp(options, only)));
  return tables;
}

/** What goes through a whole platform. */
async function overHttp(options: GatewayOptions, only: readonly GatewayPart[]): Promise<readonly Table[]> {
  const { brokers, progress } = options;
  const dataDir = await mkdtemp(join(tmpdir(), 'spool-bench-'));
  const profileDir = options.profile ? join(dataDir, 'profile') : undefined;
  const id = `g${Date.now().toString(36)}`;
  const tables: Table[] = [];
  try {
    {
      await using platform = await startBenchedPlatform(brokers, namespaceOf(id), dataDir, profileDir);
      const benched = { ...options, platform, id, dataDir };
      if (only.includes('http')) tables.push(...(await benchHttp(benched)));
      if (only.includes('outside')) tables.push(await benchOutside(benched));
      if (only.includes('overload')) tables.push(await benchHttpOverload(benched));
      if (only.includes('direct')) tables.push(await benchDirect(benched));
    }
    // It is written when the gateway has ended.
    if (profileDir !== undefined) progress(await hottest(profileDir));
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
  return tables;
}
