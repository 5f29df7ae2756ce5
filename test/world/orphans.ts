/**
 * Fails a test run that leaves a process running (vitest's globalSetup). Every process that a world starts carries the run's
 * mark in its environment, and so does everything that it starts.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const MARK = 'MERIDIAN_TEST_RUN';

export default function setup(): () => void {
  const run = randomBytes(8).toString('hex');
  process.env[MARK] = run;
  return () => {
    if (!existsSync('/proc/self/environ')) return;
    const left = readdirSync('/proc').flatMap((pid) => {
      if (!/^\d+$/.test(pid)) return [];
      try {
        // Only what was started as a managed process: the runner's own workers have the mark too.
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
        if (!environment.includes(`${MARK}=${run}`) || !environment.includes('MERIDIAN_PROCESS=')) return [];
        return [`${pid}: ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`];
      } catch {
        return [];
      }
    });
    if (left.length > 0) throw new Error(`processes left running by the tests:\n${left.join('\n')}`);
  };
}
