import { doc, record } from '@spool/schemas';
import { reject, service } from '@spool/sdk';

const voucher = {
  flight: doc('Id of the flight.', 'string'),
  amount: doc('For each passenger, in dollars.', 'int'),
};

/** The partner who issues vouchers. It knows a voucher by its key: asked again, it gives the one that it has issued. */
export interface VoucherOffice {
  issue(
    key: string,
    voucher: { readonly flight: string; readonly amount: number },
    signal: AbortSignal,
  ): Promise<{ readonly code: string }>;
}

const mostDollars = 500;

/** Has vouchers issued for the passengers of a flight; the lock is the flight, so that one is dealt with at a time. */
export const vouchers = (office: VoucherOffice) =>
  service('Vouchers', {
    description: 'Has vouchers issued by a partner.',
    commands: { IssueVouchers: record('flights.IssueVouchers', voucher) },
    events: { VouchersIssued: record('flights.VouchersIssued', { ...voucher, code: doc('What passengers show.', 'string') }) },
    handle: {
      async IssueVouchers({ flight, amount }, { idempotencyKey, signal }) {
        if (amount > mostDollars) return reject('TOO_MUCH', `${amount} dollars are more than the ${mostDollars} that the partner takes`);
        const { code } = await office.issue(idempotencyKey, { flight, amount }, signal);
        return { type: 'VouchersIssued', data: { flight, amount, code } };
      },
    },
  });
