/**
 * The process that owns the embedded PostgreSQL: it starts the server and stops it when asked to or when its parent is gone.
 * It is a process of its own because the server must outlive everybody who uses it.
 */
import { DATABASE, type PostgresServer, startPostgres, USER } from './postgres-server.ts';

let stopAsked = false;
let server: PostgresServer | undefined;

function stop(): void {
  if (stopAsked) return;
  stopAsked = true;
  // While it starts, the rest of the start sees that it is to stop: an initialisation is short, and is not left to itself.
  server?.stop().then(() => process.exit(0));
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
process.on('disconnect', stop);

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

try {
  const port = Number(required('MERIDIAN_POSTGRES_PORT'));
  const password = required('MERIDIAN_POSTGRES_PASSWORD');
  const folder = required('MERIDIAN_POSTGRES_FOLDER');
  const started = await startPostgres({ folder, port, password, fsync: process.env.MERIDIAN_POSTGRES_FSYNC ?? 'on' }, () => stopAsked);
  if (stopAsked) {
    await started.stop();
    process.exit(0);
  }
  server = started;
  started.ended.then((reason) => {
    if (stopAsked) return;
    console.error(reason);
    process.exit(1);
  });
  process.send?.({ type: 'ready', url: `postgres://${USER}:${password}@127.0.0.1:${port}/${DATABASE}` });
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
