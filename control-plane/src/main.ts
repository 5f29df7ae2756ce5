/** Starts a replica of the control plane, tells when it is ready, and closes it when asked to stop or when its parent is gone. */
import { startApp } from './app.ts';
import { loadConfig } from './config.ts';

async function main(): Promise<void> {
  const config = loadConfig(process.env);
  // Until the replica serves there is nothing to drain.
  const quit = (): void => process.exit(0);
  process.once('disconnect', quit);
  const app = await startApp(config);
  process.off('disconnect', quit);
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    // Whatever hangs must not keep a replica alive that takes no work any more.
    setTimeout(() => process.exit(1), config.shutdownTimeoutMs).unref();
    app.close().then(
      () => process.exit(0),
      (error: unknown) => fail(error),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('disconnect', stop);
  const { httpUrl, grpcAddress, healthUrl } = app;
  console.log(`control plane ready on ${httpUrl}, gRPC on ${grpcAddress}, health on ${healthUrl}`);
  process.send?.({ type: 'ready', httpUrl, grpcAddress, healthUrl });
}

/** One line for whoever reads a terminal; what is behind it belongs to the log. */
function fail(error: unknown): never {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}

main().catch(fail);
