export { parseJson } from './body.js';
export { createAuth, type Auth, type AuthConfig } from './auth/auth.js';
export type { ApiKeysOptions } from './auth/api-keys.js';
export { addApiKey, listApiKeys, revokeApiKey, type KeyEntry, type NewKey } from './auth/key-file.js';
export { authFromEnvironment } from './auth/settings.js';
export type { JwtOptions } from './auth/tokens.js';
export { decodeCursor, encodeCursor, pageOf, pageQuery } from './cursor.js';
export { checkIfMatch, etagOf, isNotModified, versionOfIfMatch } from './etag.js';
export { mediaTypeOf } from './media.js';
export { eventBytes, openEventStream, type EventStream, type EventStreamOptions, type ServerEvent } from './event-stream.js';
export { parseInput } from './input.js';
export type { HttpLimits, Rate, RateClass } from './limits.js';
export { createLog, type LogOptions } from './log.js';
export { describeApi, type ApiInfo, type OpenApiDocument } from './openapi/document.js';
export { defaultWaitMs, preferredWait } from './prefer.js';
export { problemMediaType, problemOf, problemSchema, problemType, type Problem } from './problem.js';
export type { ReadinessCheck, ReadinessResult } from './readiness.js';
export { mayAct, roles, type Principal, type RequiredRole, type Role } from './roles.js';
export {
  route,
  type Method,
  type Reply,
  type RequestContext,
  type ResponseSpec,
  type Responses,
  type Route,
  type StreamContext,
} from './route.js';
export { scrub } from './secrets.js';
export { bearerProtocol, type SocketContext, type SocketRoute } from './socket-route.js';
export { startHttp, type HttpOptions, type HttpServer } from './start-http.js';
export { continueTrace, type Trace } from './trace.js';
