import { BalanceRowSchema, type BalanceDecision, type BalanceRow } from '@spool/schemas';
import { readTable, type Instance, type TableReader } from '@spool/streams';

/** Rows of bundles have this prefix; the task's checkpoint lies beside them. */
export const balancePrefix = 'b/';

/** The latest decision on each bundle, as a local table. */
export interface Balances extends AsyncDisposable {
  /** Undefined for a bundle of which no instance was heard yet. */
  get(bundle: string): BalanceDecision | undefined;
  list(): readonly BalanceDecision[];
  readonly table: Omit<TableReader<BalanceRow>, 'close'>;
  close(): Promise<void>;
}

export async function openBalances({
  kafka,
  codec,
  topics,
  onError,
}: Pick<Instance, 'kafka' | 'codec' | 'topics'> & { readonly onError: (error: unknown) => void }): Promise<Balances> {
  const decoder = codec.decoder(BalanceRowSchema);
  const table = await readTable<BalanceRow>({
    kafka,
    topic: topics.balances.name,
    prefix: balancePrefix,
    onError,
    decode: (_, value) => decoder.decode(value),
  });
  return {
    get: (bundle) => table.get(balancePrefix + bundle)?.decision,
    list: () => [...table.entries()].map(([, { decision }]) => decision),
    table,
    close: table.close,
    [Symbol.asyncDispose]: table.close,
  };
}
