import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until the gateway lists an instance in the registry: from then on it knows where commands and queries of its bundle go. A gateway that
 * does not tell, such as one that wants a key, is not asked again.
 * @param withinMs the longest wait, in milliseconds; the instance is then listed later. @default 30000
 */
export async function untilListed(gateway: string, instance: string, signal: AbortSignal, withinMs = 30_000): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!signal.aborted && performance.now() < deadline) {
    const listed = await instancesListed(gateway);
    if (listed === undefined || listed.includes(instance)) return;
    await sleep(50, undefined, { signal }).catch(() => undefined);
  }
}

async function instancesListed(gateway: string): Promise<readonly string[] | undefined> {
  try {
    const answer = await fetch(`${gateway}/api/v1/registry/bundles`, { signal: AbortSignal.timeout(5_000) });
    if (!answer.ok) return undefined;
    const { items } = (await answer.json()) as { items: { instances: string[] }[] };
    return items.flatMap(({ instances }) => instances);
  } catch {
    return undefined;
  }
}
