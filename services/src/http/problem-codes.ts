import type { ErrorCode } from '@spool/schemas';
import type { Route } from './route.js';

/** Every problem a route may answer: its own and those of the edge. OpenAPI lists them; others are logged as undeclared. */
export function problemCodes(route: Route): readonly ErrorCode[] {
  const input =
    route.params !== undefined ||
    route.query !== undefined ||
    route.headers !== undefined ||
    route.body !== undefined ||
    route.rawBody !== undefined;
  const safe = route.safe ?? route.method === 'GET';
  return [
    ...new Set<ErrorCode>([
      ...(route.errors ?? []),
      ...(route.role === 'public' ? [] : (['UNAUTHENTICATED', 'FORBIDDEN'] as const)),
      ...(input ? (['INVALID_REQUEST'] as const) : []),
      ...(route.body === undefined && route.rawBody === undefined ? [] : (['MALFORMED_JSON'] as const)),
      ...(route.method === 'GET' ? [] : (['UNSUPPORTED_MEDIA_TYPE', 'BODY_TOO_LARGE', 'CROSS_ORIGIN'] as const)),
      'NOT_ACCEPTABLE',
      'HOST_REFUSED',
      'HEADERS_TOO_LARGE',
      'REQUEST_TIMEOUT',
      ...(route.rateClass === 'unlimited' ? [] : (['RATE_LIMITED'] as const)),
      'OVERLOADED',
      'UNAVAILABLE',
      ...(route.stream === true ? [] : [safe ? ('EXPIRED' as const) : ('INDETERMINATE' as const)]),
      'INTERNAL',
    ]),
  ];
}
