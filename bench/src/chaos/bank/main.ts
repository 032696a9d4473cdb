/** An instance of the bank in a process of its own, to be killed. Argument: its settings as JSON. */
import { startBank, type BankConfig } from './instance.js';

const running = await startBank(JSON.parse(process.argv[2] ?? '{}') as BankConfig);
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
