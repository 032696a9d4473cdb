import type { BundleAnnounced, BundleLeft, BundleRow } from '@spool/schemas';

/** Incarnations remembered for what they still say too late. */
const maxFormer = 200;

export const rowKey = ({ bundle, version }: { readonly bundle: string; readonly version: string }): string => `${bundle}@${version}`;

/** What an announcement makes of a row; undefined: nothing that is not known. An empty instance registers the descriptor alone. */
export function joined(row: BundleRow | undefined, event: BundleAnnounced): BundleRow | undefined {
  const { bundle, version, descriptor, instance, incarnation, at } = event;
  const members = row?.members ?? [];
  const former = row?.former ?? [];
  if (former.includes(incarnation)) return undefined;
  const known = members.find((member) => member.instance === instance);
  const arrived = instance !== '' && known?.incarnation !== incarnation;
  if (!arrived && row?.descriptor === descriptor) return undefined;
  return {
    bundle,
    version,
    generation: (row?.generation ?? 0) + 1,
    descriptor,
    members: arrived ? [...members.filter((member) => member !== known), { instance, incarnation }].sort(byInstance) : members,
    former: arrived && known !== undefined ? remember(former, known.incarnation) : former,
    updatedAt: at,
  };
}

/** What a leave makes of a row; undefined for one that is too late: another run of the instance has come since. */
export function left(row: BundleRow | undefined, { instance, incarnation, at }: BundleLeft): BundleRow | undefined {
  const known = row?.members.find((member) => member.instance === instance);
  if (row === undefined || known?.incarnation !== incarnation) return undefined;
  return {
    ...row,
    generation: row.generation + 1,
    members: row.members.filter((member) => member !== known),
    former: remember(row.former, incarnation),
    updatedAt: at,
  };
}

const byInstance = (a: { instance: string }, b: { instance: string }): number => (a.instance < b.instance ? -1 : 1);
/** A writer that knows no incarnations has the empty one, which never is too late. */
const remember = (former: readonly string[], incarnation: string): readonly string[] =>
  incarnation === '' ? former : [...former, incarnation].slice(-maxFormer);
