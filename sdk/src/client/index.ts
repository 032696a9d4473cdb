/** For programs outside any bundle. */
export { connectClient, type Client, type ClientOptions } from './client.js';
export type { EventEnvelope, JsonEvent, SubscribedEvent, SubscribeOptions, Subscription } from './subscribe.js';
