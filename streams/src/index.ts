export type * from './kafka/port.js';
export { offset } from './kafka/port.js';
