export { openReplayService, type ReplayOrder, type ReplayService } from './replay-service.js';
export { replayRequest, replayView, type ReplayRequest, type ReplayView } from './requests.js';
