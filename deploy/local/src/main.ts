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
  // A signal that comes while things are starting is kept until there is something to stop.
  let stopAsked = false;
  let wake: () => void = () => {};
  const asked = new Promise<void>((resolve) => {
    wake = resolve;
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (stopAsked) console.log('Already stopping.');
      stopAsked = true;
      wake();
    });
  }
  try {
    const world = await startLocalWorld(
      settings,
      (line) => console.log(line),
      () => stopAsked,
    );
    if (!stopAsked) console.log(world.greeting);
    await Promise.race([asked, world.broken.then((line) => (stopAsked ? undefined : console.error(line)))]);
    console.log('Stopping…');
    await world.stop();
    console.log('Stopped.');
    return stopAsked ? 0 : 1;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

process.exitCode = await main();
// Anything still holding the event loop open would be a leak that a user sees as a terminal that hangs.
setTimeout(() => process.exit(), 500).unref();
