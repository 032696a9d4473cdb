import { TaskCheckpointSchema } from '@spool/schemas';
import type { AcquireOptions } from '../engine/acquire.js';
import { offset } from '../kafka/port.js';
import { partitionKey, splitPartitionKey } from '../store/store.js';
import type { Instance } from './instance.js';

/**
 * Task checkpoints as the contract `spool.TaskCheckpoint` has them.
 * @param codeVersion a checkpoint of another version of the code covers nothing: its snapshots are not used
 */
export async function checkpointCodec(
  { codec, id, now }: Instance,
  changelog: string,
  codeVersion = '1',
): Promise<Pick<AcquireOptions, 'encodeCheckpoint' | 'decodeCheckpoint'>> {
  const encoder = await codec.encoder(changelog, TaskCheckpointSchema);
  const decoder = codec.decoder(TaskCheckpointSchema);
  return {
    encodeCheckpoint: ({ owner, generation, inputs, covered, streamTime, epoch }) =>
      encoder.encode({
        owner,
        generation,
        instance: id,
        inputs: [...inputs].map(([key, next]) => ({ ...splitPartitionKey(key), offset: Number(next) })),
        covered: covered === null ? null : Number(covered),
        epoch,
        codeVersion,
        streamTime,
        at: now(),
      }),
    async decodeCheckpoint(value) {
      const { owner, generation, inputs, covered, streamTime, epoch, codeVersion: writtenBy } = await decoder.decode(value);
      return {
        owner,
        generation,
        inputs: new Map(inputs.map((at) => [partitionKey(at), offset(at.offset)])),
        covered: covered === null || writtenBy !== codeVersion ? null : offset(covered),
        streamTime,
        epoch,
      };
    },
  };
}
