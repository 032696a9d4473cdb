/** Events between named nodes. */
export { nodeEvents, openNode, type Node, type NodeHome, type NodeOptions } from './nodes.js';
export type { LaneStatus } from './lane.js';
export type { Received } from './inbox.js';
