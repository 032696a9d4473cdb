import type { Asked } from './requests.js';

/** What a process of callers is told to do. */
export type Order = Closed | Offer;
/** So many callers, each with one request in flight. */
export interface Closed {
  readonly kind: 'closed';
  readonly port: number;
  readonly asked: Asked;
  readonly callers: number;
  readonly seconds: number;
}
/** So many requests a second, whatever the answers do. */
export interface Offer {
  readonly kind: 'offer';
  readonly port: number;
  readonly rate: number;
  readonly seconds: number;
}
