/** Starts a node, tells when it is ready, and drains it when asked to stop or when its parent is gone. */
import { createNode } from './app.ts';
import { loadConfig } from './config.ts';

/** On top of the time to drain, for the last report; over this, whoever stops us has waited long enough. */
const EXIT_AFTER_DRAIN_MS = 30_000;

async function main(): Promise<void> {
  const config = loadConfig(process.env);
  // Until the node serves there is nothing to drain.
  const quit = (): void => process.exit(0);
  process.once('disconnect', quit);
  const node = await createNode(config);
  process.off('disconnect', quit);
  let stopping = false;
  const stop = (why: string): void => {
    if (stopping) return;
    stopping = true;
    setTimeout(() => process.exit(1), config.drainTimeoutMs + EXIT_AFTER_DRAIN_MS).unref();
    node.close(why).then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(`the node did not stop cleanly: ${String(error)}`);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => stop('SIGTERM'));
  process.on('SIGINT', () => stop('SIGINT'));
  process.on('disconnect', () => stop('the parent process is gone'));
  console.log(`node ${config.nodeId} ready on ${node.url}, health on ${node.healthUrl}`);
  process.send?.({ type: 'ready', url: node.url, healthUrl: node.healthUrl });
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
});
