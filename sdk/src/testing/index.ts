/** The testing kit: it throws plain errors with a readable difference, whatever runs the tests. */
export { given, type Given, type Past, type When, type WhenOptions } from './given.js';
export { givenEvents, type Asked, type GivenEvent, type GivenEvents, type GivenReadModel } from './given-events.js';
export { startInMemory, type BundleInMemory, type InMemoryOptions, type LoggedEvent } from './start-in-memory.js';
export { givenSaga, type ExpectedCommand, type GivenSaga } from './given-saga.js';
export { givenService, type GivenService, type Handled } from './given-service.js';
