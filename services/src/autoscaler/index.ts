export { decide, noMemory, type BalanceMemory, type BalancePolicy, type Decision, type Load } from './decide.js';
