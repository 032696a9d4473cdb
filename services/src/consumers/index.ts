export { openConsumerService, type ConsumerOrder, type ConsumerService, type Ordering } from './consumer-service.js';
export { deadLetterView, letterPlace } from './dead-letters.js';
export { orderRecords, type Actor, type Wish } from './order-records.js';
export { place, startsOf, type Place } from './starts.js';
export { consumerView, orderResult, type ConsumerView, type OrderResult } from './views.js';
