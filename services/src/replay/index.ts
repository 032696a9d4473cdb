export type { Behind } from './pacing.js';
export { openReplayService, type ReplayOrder, type ReplayService } from './replay-service.js';
export { replayRequest, replayView, reportView, type ReplayRequest, type ReplayView } from './requests.js';
export { noEvents } from './starts.js';
