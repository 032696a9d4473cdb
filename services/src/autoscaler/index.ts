export { openBalances, type Balances } from './balances.js';
export { decide, noMemory, type BalanceMemory, type BalancePolicy, type Decision, type Load } from './decide.js';
export { openPolicies, scalingPolicy, type Policies } from './policies.js';
export { autoscalerProcessor } from './processor.js';
