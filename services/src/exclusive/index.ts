export { exclusively, type Exclusively } from './exclusive.js';
