/** The official Python SDK, where python3 and the package are there. */
import { execFile, execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGIONS, World } from '../world/world.ts';

const missing = ((): string | undefined => {
  try {
    execFileSync('python3', ['-c', 'import openai'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'python3 with the openai package is not here: its suite is skipped';
  }
})();
if (missing !== undefined) console.log(missing);

describe.skipIf(missing !== undefined)('the Python SDK', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start();
  });
  afterAll(() => world?.stop());

  it.each(REGIONS)('does its round in %s', { timeout: 60_000 }, async (region) => {
    const script = fileURLToPath(new URL('python_sdk.py', import.meta.url));
    const { stdout } = await promisify(execFile)('python3', [script, `${world.url(region)}/v1`, world.apiKey]);
    expect(stdout.trim().split('\n')).toHaveLength(11);
    expect(stdout).not.toContain('does not hold');
  });
});
