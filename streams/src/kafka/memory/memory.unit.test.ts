import { describeKafka } from '../conformance.js';
import { createMemoryKafka } from './connect.js';

describeKafka('memory', () => Promise.resolve(createMemoryKafka()));
