/**
 * Fails a test file that leaves a handle open: a server, a socket, a child process, a timer that keeps the process alive.
 * (vitest's setupFiles: it runs before each file, in that file's process.)
 */
import { afterAll, expect } from 'vitest';

/** What may close a moment after the last test. */
const CLOSING_WITHIN_MS = 3_000;

/** Handles that somebody must have closed. Unreferenced timers and the runner's own pipes are not among them. */
const WATCHED: ReadonlySet<string> = new Set([
  'TCPServerWrap',
  'TCPSocketWrap',
  'UDPWrap',
  'ProcessWrap',
  'Timeout',
  'FSEventWrap',
  'TLSWrap',
  'Http2Session',
]);

function open(): string[] {
  return process.getActiveResourcesInfo().filter((name) => WATCHED.has(name));
}

const before = open();

function leaked(): string[] {
  const rest = [...before];
  return open().filter((name) => {
    const at = rest.indexOf(name);
    if (at === -1) return true;
    rest.splice(at, 1);
    return false;
  });
}

/** `fetch` keeps its connections for a while; they are the runtime's, not the test's. */
async function closeFetchConnections(): Promise<void> {
  for (const version of [1, 2]) {
    const dispatcher = (globalThis as Record<symbol, { destroy?: () => Promise<void> } | undefined>)[
      Symbol.for(`undici.globalDispatcher.${version}`)
    ];
    await dispatcher?.destroy?.();
  }
}

afterAll(async () => {
  await closeFetchConnections();
  // The runner has a timer of its own for this very hook.
  const own = 1;
  const until = Date.now() + CLOSING_WITHIN_MS;
  const left = (): string[] => {
    const names = leaked();
    for (let index = 0; index < own; index++) {
      const at = names.indexOf('Timeout');
      if (at !== -1) names.splice(at, 1);
    }
    return names;
  };
  while (left().length > 0 && Date.now() < until) await new Promise((resolve) => setImmediate(resolve));
  expect(left(), 'handles left open by this file').toEqual([]);
});
