import { testKafka } from '@spool/embedded';
import { describeKafka } from '../conformance.js';
import { connectKafka } from './connect.js';

describeKafka('kafkajs', () => connectKafka({ brokers: testKafka(), clientId: 'conformance' }));
