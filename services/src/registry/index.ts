export { graphOf, graphView } from './graph.js';
export { interactionProcessor, openInteractions } from './interactions.js';
export { registryProcessor } from './processor.js';
export { openRegistrar, type Registrar } from './register.js';
