import { SpoolError } from '@spool/schemas';
import type { Projection } from './projection.js';

/** Whether a projection can answer from where its projector keeps the rows. @throws SpoolError INVALID_CONFIG */
export function checkReads({ name, reads, queries, keys, cache }: Projection): void {
  const refuse = (why: string): never => {
    throw new SpoolError('INVALID_CONFIG', `projection ${name} reads ${reads.name}: ${why}`);
  };
  if (cache !== undefined && reads.home !== undefined) {
    refuse(
      'other instances change its rows, and an answer that is kept here may be older than the position it would be given with; leave cache out',
    );
  }
  const without = Object.keys(queries).filter((type) => keys?.[type] === undefined);
  if (reads.partitioned === true && without.length > 0) {
    refuse(`it is partitioned, and keys do not say whose partition ${without.join(', ')} ${without.length > 1 ? 'are' : 'is'} about`);
  }
  if (reads.partitioned !== true && keys !== undefined) refuse('every instance can answer from it; leave keys out');
}
