import { SpoolError, toSpoolError } from '@spool/schemas';
import { z } from 'zod';
import { usersOf } from './access.js';
import { Engine } from './engine.js';
import { defaultLimits } from './limits.js';
import { serveClickHouse } from './server.js';

const settings = z.object({
  SPOOL_CLICKHOUSE_PORT: z.coerce.number().int().min(0).max(65_535).default(8123),
  SPOOL_CLICKHOUSE_PATH: z.string().min(1),
  SPOOL_CLICKHOUSE_WRITER_PASSWORD: z.string().min(1),
  SPOOL_CLICKHOUSE_READER_PASSWORD: z.string().default(''),
  /** Node's own; each statement that runs holds a thread. */
  UV_THREADPOOL_SIZE: z.coerce.number().int().min(1).default(4),
});

/** Below the 15 s after which a supervisor kills: 5 s for what runs, 5 s for what is killed. */
const graceMs = 5_000;

async function main(): Promise<void> {
  const read = settings.safeParse(process.env);
  if (!read.success) throw new SpoolError('INVALID_CONFIG', z.prettifyError(read.error));
  const config = read.data;
  const engine = await Engine.open(config.SPOOL_CLICKHOUSE_PATH, defaultLimits(config.UV_THREADPOOL_SIZE));
  const users = usersOf({ writer: config.SPOOL_CLICKHOUSE_WRITER_PASSWORD, reader: config.SPOOL_CLICKHOUSE_READER_PASSWORD });
  const server = await serveClickHouse(engine, users, config.SPOOL_CLICKHOUSE_PORT);
  let isStopping = false;
  const stop = async (): Promise<void> => {
    if (isStopping) return;
    isStopping = true;
    try {
      await Promise.all([server.close(graceMs * 2), engine.close(graceMs)]);
      process.exit(0);
    } catch (thrown) {
      console.error(toSpoolError(thrown).message);
      // Not exit(): that would close the engine under a statement, which can hang. The data on disk is whole at any time.
      process.kill(process.pid, 'SIGKILL');
    }
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop());
  process.on('disconnect', () => void stop());
  console.log(`ClickHouse ${engine.version} ready on ${server.url}`);
  process.send?.({ type: 'ready', url: server.url });
}

main().catch((thrown: unknown) => {
  const { code, message } = toSpoolError(thrown);
  console.error(`${code}: ${message}`);
  process.exit(1);
});
