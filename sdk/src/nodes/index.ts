/** Events between named nodes. */
export { openNode, type Node, type NodeOptions } from './nodes.js';
export type { LaneStatus } from './lane.js';
export type { Received } from './inbox.js';
