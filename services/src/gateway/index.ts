export { gatewayRoutes, type GatewayRoutesOptions } from './routes.js';
