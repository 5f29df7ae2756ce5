import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newFolder, openTestSpool, retainedFinals } from './testing.ts';

const KILLS = 20;

let folder: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = newFolder();
});
afterEach(() => {
  child?.kill('SIGKILL');
  fs.rmSync(folder, { recursive: true });
});

/** Lets a process write until it has reported a number of finals, kills it, and gives what it had reported. */
async function writeAndKill(incarnation: number, reports: number): Promise<{ finals: string[]; intents: string[] }> {
  const script = fileURLToPath(new URL('./kill.child.ts', import.meta.url));
  const running = spawn(process.execPath, [script, folder, String(incarnation)], { stdio: ['ignore', 'pipe', 'inherit'] });
  child = running;
  const finals: string[] = [];
  const intents: string[] = [];
  const closed = new Promise<void>((resolve) => running.on('close', () => resolve()));
  for await (const line of createInterface({ input: running.stdout })) {
    const [kind, name = ''] = line.split(' ');
    (kind === 'final' ? finals : intents).push(name);
    if (finals.length >= reports) running.kill('SIGKILL');
  }
  await closed;
  expect(running.signalCode).toBe('SIGKILL');
  return { finals, intents };
}

it(`keeps every final whose waiter was called and closes every intent, over ${KILLS} kill -9`, async () => {
  const written = new Set<string>();
  const opened = new Set<string>();
  for (let round = 1; round <= KILLS; round++) {
    const reported = await writeAndKill(round, 20 + round * 37);
    for (const name of reported.finals) written.add(name);
    for (const name of reported.intents) opened.add(name);
  }
  const { spool, alarms } = await openTestSpool(folder, BigInt(KILLS + 1));
  const finals = await retainedFinals(spool);
  const byId = new Map(finals.map((final) => [final.requestId, final]));
  expect(finals).toHaveLength(byId.size);
  for (const name of written) expect(byId.get(name), name).toMatchObject({ outcome: 'success', chargeNano: 7n });
  for (const name of opened) expect(byId.has(name), name).toBe(true);
  expect(finals.filter((final) => final.outcome === 'recovered').length).toBeGreaterThan(0);
  expect(finals.filter((final) => final.outcome === 'recovered').every((final) => final.chargeNano === 0n)).toBe(true);
  expect(alarms).toEqual([]);
  await spool.close();
}, 120_000);
