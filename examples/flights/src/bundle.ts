import { bundle, type Bundle } from '@spool/sdk';
import { Announcements } from './announcements.js';
import { passengerCare } from './care.js';
import { Delays, FlightDelays, FlightDelaysWithBug } from './delays.js';
import { feed, type FeedOptions } from './feed/feed.js';
import { Flight } from './flight.js';
import { officeInMemory } from './office.js';
import { Punctuality } from './punctuality.js';
import { vouchers, type VoucherOffice } from './vouchers.js';

export interface FlightsOptions {
  /** @default one in memory */
  readonly office?: VoucherOffice;
  /** Without it nothing is fed: flights come over HTTP alone. */
  readonly feed?: FeedOptions;
  /** Early arrivals count as late ones: what the README's tour finds and mends. @default false */
  readonly bug?: boolean;
}

export function flightsBundle({ office = officeInMemory, bug = false, ...options }: FlightsOptions = {}): Bundle {
  const Vouchers = vouchers(office);
  const invokers = [Punctuality, ...(options.feed === undefined ? [] : [feed(options.feed)])];
  return bundle({
    id: 'flights',
    version: '0.2.0',
    description: 'Flights of the United States in 2001, and how late they arrived.',
    components: [Flight, bug ? FlightDelaysWithBug : FlightDelays, Delays, Vouchers, passengerCare(Vouchers), Announcements, ...invokers],
  });
}
