import { bundle, type Bundle } from '@spool/sdk';
import { Delays, FlightDelays } from './delays.js';
import { feed, type FeedOptions } from './feed/feed.js';
import { Flight } from './flight.js';

/** @param feedOptions without them nothing is fed: flights come over HTTP alone. */
export const flightsBundle = (feedOptions?: FeedOptions): Bundle =>
  bundle({
    id: 'flights',
    version: '0.1.0',
    description: 'Flights of the United States in 2001, and how late they arrived.',
    components: [Flight, FlightDelays, Delays, ...(feedOptions === undefined ? [] : [feed(feedOptions)])],
  });
