import { SpoolError } from '@spool/schemas';
import type { Registry } from '@spool/sdk';
import type { ReplayRequest } from './requests.js';
import type { Target } from './starts.js';

/** What is passed over has to be there already. @throws SpoolError INVALID_REQUEST */
export function refuseLoss(request: ReplayRequest): void {
  const given = (['to', 'eventTypes', 'keys'] as const).find((name) => request[name] !== undefined);
  if (given === undefined || (request.mode === 'rewind' && request.resetState !== true)) return;
  const [pointer, what] =
    request.mode === 'rewind' ? ['/resetState', 'a read model that is emptied'] : ['/mode', 'a copy, which begins empty,'];
  const message = `${what} would lack the rows of the events that \`${given}\` passes over: rewind without resetState, or leave \`${given}\` out`;
  throw new SpoolError('INVALID_REQUEST', message, { violations: [{ pointer, message }] });
}

/** @throws SpoolError UNKNOWN_CONSUMER, INVALID_REQUEST when it cannot be replayed so */
export function targetOf(registry: Registry, own: readonly Target[], { target, mode, ...request }: ReplayRequest): Target {
  const found: Target | undefined =
    registry.component(target) ??
    registry.components().find((each) => each.consumer === target || each.readModel === target) ??
    own.find(({ consumer }) => consumer === target);
  if (found?.consumer === undefined) throw new SpoolError('UNKNOWN_CONSUMER', `there is no component or consumer ${target}`);
  if (!found.replayable) throw refused('/target', 'Expected a projector', `${found.name} is a ${found.kind}: only projectors are rewound`);
  if (mode !== 'rewind' && found.copyable !== true) {
    const what = 'Expected rewind: only a read model on the disk of each instance, in one context, is copied';
    throw refused('/mode', what, `${found.name} cannot have a second copy: rewind it`);
  }
  const more = (['resetState', 'to', 'eventTypes', 'keys'] as const).find((name) => (request[name] ?? false) !== false);
  if (found.restores !== undefined && more !== undefined) throw refused(`/${more}`, 'Expected none', `${found.name} ${found.restores}`);
  return found;
}

/** @throws SpoolError INVALID_REQUEST */
export function refuseTwins({ dryRun, with: others = [] }: ReplayRequest, targets: readonly Target[]): void {
  if (dryRun && others.length > 0) throw refused('/with', 'Expected none', 'a dry run is of one target');
  const twin = targets.find(({ name }, index) => targets.findIndex((each) => each.name === name) < index);
  if (twin !== undefined) throw refused('/with', `Expected each once: ${twin.name}`, `${twin.name} is named twice`);
}

const refused = (pointer: string, message: string, why: string): SpoolError =>
  new SpoolError('INVALID_REQUEST', why, { violations: [{ pointer, message }] });
