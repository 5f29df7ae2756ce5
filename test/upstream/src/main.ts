// Runs the simulated upstream as a process: starts it, says where it is, and stops it on a signal or with its parent.

import { HELP, readArguments } from './arguments.ts';
import { startUpstream, type Upstream, type UpstreamOptions } from './server.ts';

function fail(message: string): never {
  process.stderr.write(`upstream: ${message}\n`);
  process.exit(1);
}

function readOrFail(): UpstreamOptions | 'help' {
  try {
    return readArguments(process.argv.slice(2));
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

async function startOrFail(options: UpstreamOptions): Promise<Upstream> {
  try {
    return await startUpstream(options);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') {
      return fail(`port ${options.port} on ${options.host} is taken; choose another with --port`);
    }
    return fail(error instanceof Error ? error.message : String(error));
  }
}

const options = readOrFail();
if (options === 'help') {
  process.stdout.write(HELP);
} else {
  const upstream = await startOrFail(options);
  const stop = (): void => {
    upstream.close().then(
      () => process.exit(0),
      (error: unknown) => fail(String(error)),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // A parent that dies without a word closes the channel: nobody is left to stop this process otherwise.
  process.on('disconnect', stop);
  process.stdout.write(`upstream ready on ${upstream.origin}\n`);
  process.send?.({ type: 'ready', origin: upstream.origin });
}
