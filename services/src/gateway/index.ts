export { asyncApiRoute } from './async-api.js';
export { gatewayRoutes, type GatewayRoutesOptions } from './routes.js';
export { replayRoutes } from './replay-routes.js';
export { streamSocket, type StreamSocketOptions } from './stream-socket.js';
export { tailRoute } from './event-routes.js';
export { withMessages } from './message-document.js';
