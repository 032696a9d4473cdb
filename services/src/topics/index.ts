export { binaryEvent, structuredEvent } from './cloud-events.js';
export { openTopics, type Topics } from './topics.js';
