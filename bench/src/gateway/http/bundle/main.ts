/** The bundle behind the gateway, in a process of its own, with the settings that the platform gives to each. */
import { connectPlatform, platformSettings, startBundle } from '@spool/sdk';
import { serveDirect } from '@spool/sdk/direct';
import { shop } from './shelf.js';

const settings = platformSettings(process.env);
const { SPOOL_INSTANCE: instance = '', SPOOL_DATA_DIR: dataDir = '', SCHEMA_REGISTRY_URL: schemaRegistryUrl = '' } = process.env;
const log = (level: string, message: string, fields?: object): void => console.log(new Date().toISOString(), level, message, fields ?? '');
const connection = await connectPlatform({ ...settings, schemaRegistryUrl, clientId: instance, log });
const { sampling, endpoint } = settings;
const running = await startBundle(shop, { ...connection, instance, dataDir, log, sampling, endpoint });
const direct = await serveDirect(running);
process.send?.('ready');
await new Promise<void>((resolve) => {
  for (const event of ['SIGTERM', 'disconnect']) process.once(event, () => resolve());
});
await direct.close();
await running.close();
await connection.kafka.close();
process.exit(0);
