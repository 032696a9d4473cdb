import { SpoolError } from '@spool/schemas';
import type { Bundle } from '../bundle/bundle.js';

/**
 * A read model that is being built answers nobody: a projector that waited for an answer out of its own, at first hand or by way of others, would wait
 * for ever. Of projectors of other bundles nothing is known here.
 * @throws SpoolError INVALID_CONFIG
 */
export function checkAsks({ id, components }: Bundle): void {
  /** Projection -> the projector that it reads, and the projections that this one asks. */
  const asks = new Map(
    components.flatMap((component) =>
      component.kind === 'projection'
        ? [[component.name, { reads: component.reads.name, next: component.reads.asks.map(({ name }) => name) }] as const]
        : [],
    ),
  );
  for (const projector of components) {
    if (projector.kind !== 'projector') continue;
    const reached = new Set(projector.asks.map(({ name }) => name));
    for (const name of reached) {
      const found = asks.get(name);
      if (found?.reads === projector.name) {
        const way = `${projector.name} asks ${projector.asks.map((asked) => asked.name).join(', ')}`;
        const waits = `${name} answers from ${projector.name}: it would wait for itself`;
        throw new SpoolError('INVALID_CONFIG', `bundle ${id}: ${way}, and ${waits}; keep what it asks for in tables of its own`);
      }
      for (const next of found?.next ?? []) reached.add(next);
    }
  }
}
