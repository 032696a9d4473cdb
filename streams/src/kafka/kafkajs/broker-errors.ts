import { SpoolError, type ErrorCode } from '@spool/schemas';

/** Numbers of the protocol that the adapter tells apart. kafkajs knows names up to 88 only, so numbers it is. */
export const Code = {
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  LEADER_NOT_AVAILABLE: 5,
  NOT_LEADER: 6,
  MESSAGE_TOO_LARGE: 10,
  COORDINATOR_LOADING: 14,
  COORDINATOR_NOT_AVAILABLE: 15,
  NOT_COORDINATOR: 16,
  INVALID_TOPIC: 17,
  RECORD_LIST_TOO_LARGE: 18,
  ILLEGAL_GENERATION: 22,
  UNKNOWN_MEMBER_ID: 25,
  REBALANCE_IN_PROGRESS: 27,
  TOPIC_ALREADY_EXISTS: 36,
  OUT_OF_ORDER_SEQUENCE: 45,
  DUPLICATE_SEQUENCE: 46,
  INVALID_PRODUCER_EPOCH: 47,
  INVALID_TXN_STATE: 48,
  INVALID_PRODUCER_ID_MAPPING: 49,
  CONCURRENT_TRANSACTIONS: 51,
  OPERATION_NOT_ATTEMPTED: 55,
  UNKNOWN_PRODUCER_ID: 59,
  FENCED_INSTANCE_ID: 82,
  PRODUCER_FENCED: 90,
} as const;

/** 2 corrupt in transit, 5-9 and 13 leaders and connections, 14-16 coordinators, 19-20 too few replicas, 41 controller, 55 another partition was refused, 56 disk, 72-78 epochs. */
const transientCodes: ReadonlySet<number> = new Set([
  2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 51, 55, 56, 72, 74, 75, 76, 78, 88, 100, 103,
]);
export const isTransientCode = (code: number): boolean => transientCodes.has(code);

const fencedCodes: ReadonlySet<number> = new Set([Code.INVALID_PRODUCER_EPOCH, Code.PRODUCER_FENCED]);
export const isFencedCode = (code: number): boolean => fencedCodes.has(code);

const connectionErrors: ReadonlySet<string> = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSLockTimeout',
]);
/** A certificate that is not trusted today is not trusted in a minute. */
const untrusted = /^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS|ERR_SSL)/;
/** The request may or may not have reached the broker. */
export const isConnectionError = (thrown: unknown): boolean =>
  thrown instanceof Error && connectionErrors.has(thrown.name) && !('code' in thrown && untrusted.test(String(thrown.code)));

/** A broker answered with an error. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError';
  constructor(
    readonly code: number,
    readonly request: string,
  ) {
    super(`${request}: ${describeCode(code)}`);
  }
}

/** The number of the protocol error that was thrown; undefined when it was something else. */
export function codeOf(thrown: unknown): number | undefined {
  if (thrown instanceof BrokerError) return thrown.code;
  if (!(thrown instanceof Error) || !('code' in thrown) || typeof thrown.code !== 'number') return undefined;
  if (thrown.code >= 0) return thrown.code;
  // kafkajs calls what it does not know -99 and leaves the number in the text
  const unknown = /Unknown error code (\d+)/.exec(thrown.message);
  return unknown ? Number(unknown[1]) : undefined;
}

export function isTransient(thrown: unknown): boolean {
  const code = codeOf(thrown);
  return code === undefined ? isConnectionError(thrown) : isTransientCode(code);
}

const names = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]));
export const describeCode = (code: number): string => `${names.get(code) ?? 'broker error'} (${code})`;

/** Names what went wrong in Spool's own words; `doing` says what was attempted, and where. */
export function kafkaError(thrown: unknown, doing: string): SpoolError {
  if (thrown instanceof SpoolError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new SpoolError(spoolCode(thrown), `${doing}: ${reason}`, { cause: thrown });
}

function spoolCode(thrown: unknown): ErrorCode {
  const code = codeOf(thrown);
  if (code === undefined) return isConnectionError(thrown) ? 'KAFKA_UNAVAILABLE' : 'KAFKA_REFUSED';
  if (code === Code.UNKNOWN_TOPIC_OR_PARTITION || code === Code.INVALID_TOPIC) return 'UNKNOWN_TOPIC';
  if (code === Code.MESSAGE_TOO_LARGE || code === Code.RECORD_LIST_TOO_LARGE) return 'RECORD_TOO_LARGE';
  if (isFencedCode(code)) return 'PRODUCER_FENCED';
  return isTransientCode(code) ? 'KAFKA_UNAVAILABLE' : 'KAFKA_REFUSED';
}
