export type { AnsweringOptions } from './answering.js';
export { consistentHash, leastLoaded, randomly, roundRobin, type Balancer, type Candidate } from './balancing.js';
export type { Call, CallTransport } from './call.js';
export type { Direct } from './direct.js';
export type { Discovery, Place } from './discovery.js';
export { connectDirect, serveDirect, type ConnectOptions } from './running.js';
export type { SocketServerOptions } from './socket-server.js';
