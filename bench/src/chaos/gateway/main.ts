/** A node in a process of its own, to be stopped, cut off and killed. Argument: its settings as JSON. */
import { startNode, type NodeConfig } from './node.js';

const running = await startNode(JSON.parse(process.argv[2] ?? '{}') as NodeConfig);
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
