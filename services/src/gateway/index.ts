export { replayRoutes } from './replay-routes.js';
export { gatewayRoutes, type GatewayRoutesOptions } from './routes.js';
