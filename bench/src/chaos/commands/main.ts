/** An instance of the accounts in a process of its own, to be killed. Argument: its settings as JSON. */
import { startAccounts, type AccountsConfig } from './instance.js';

const running = await startAccounts(JSON.parse(process.argv[2] ?? '{}') as AccountsConfig);
process.once('SIGTERM', () => void running.close().then(() => process.exit(0)));
process.send?.('ready');
