/** `npm start`: the whole platform on one machine, in one terminal. */

import { startLocalWorld } from './local-world.ts';
import { HELP, type LocalSettings, readSettings } from './settings.ts';

async function main(): Promise<number> {
  let settings: LocalSettings | 'help';
  try {
    settings = readSettings(process.argv.slice(2), process.env);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 2;
  }
  if (settings === 'help') {
    console.log(HELP);
    return 0;
  }
  // A terminal that is gone must not end this process before it has stopped the others.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const stopping = new AbortController();
  const { signal: abort } = stopping;
  const asked = new Promise<void>((resolve) => abort.addEventListener('abort', () => resolve()));
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      console.log(abort.aborted ? 'Already stopping.' : 'Stopping…');
      stopping.abort();
    });
  }
  try {
    const world = await startLocalWorld(settings, (line) => console.log(line), abort);
    if (!abort.aborted) console.log(world.greeting);
    const broken = await Promise.race([asked, world.broken]);
    if (!abort.aborted) console.error(`${broken}\nStopping…`);
    await world.stop();
    console.log('Stopped.');
    return broken === undefined || abort.aborted ? 0 : 1;
  } catch (error) {
    if (abort.aborted) {
      console.log('Stopped.');
      return 0;
    }
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

process.exitCode = await main();
// Anything still holding the event loop open would be a leak that a user sees as a terminal that hangs.
setTimeout(() => process.exit(), 500).unref();
