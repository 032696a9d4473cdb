export type { AnsweringOptions } from './answering.js';
export { consistentHash, leastLoaded, randomly, roundRobin, type Balancer, type Candidate } from './balancing.js';
export type { Call, CallTransport, StreamCall, StreamLink, StreamSink } from './call.js';
export type { Direct, DirectStreamOptions } from './direct.js';
export type { Discovery, Place, Wanted } from './discovery.js';
export { connectDirect, localDirect, serveDirect, type ConnectOptions } from './running.js';
export type { SocketServerOptions } from './socket-server.js';
export type { SessionsOptions } from './sessions.js';
export type { StreamOptions } from './stream.js';
