export { flightsBundle } from './bundle.js';
export { Delays, FlightDelays } from './delays.js';
export { expectedAirportDelays, expectedAirports, expectedRouteDelays, expectedRoutes, type ExpectedDelays } from './expected.js';
export { feed, type FeedOptions } from './feed/feed.js';
export { progressFile, type Progress } from './feed/progress.js';
export { Flight, type FlightState } from './flight.js';
export { flightId, scheduledAt, timetable, type TimetableRow } from './timetable.js';
