import type { Asked } from '../http/requests.js';

export interface CallerConfig {
  readonly brokers: readonly string[];
  readonly namespace: string;
  readonly schemasUrl: string;
  readonly clusterKey: string;
  readonly dataDir: string;
}
export type Way = 'direct' | 'kafka';
/** So many callers, each with one call in flight. */
export interface DirectOrder {
  readonly way: Way;
  readonly asked: Asked;
  readonly callers: number;
  readonly seconds: number;
}
