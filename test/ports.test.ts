import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePorts } from './ports.ts';

const FIRST = 10_000;
const LAST = 19_899;

describe('ports for tests', () => {
  let claims: string;
  beforeEach(() => {
    claims = mkdtempSync(join(tmpdir(), 'meridian-ports-'));
  });
  afterEach(() => rmSync(claims, { recursive: true, force: true }));

  /** Of a process that has ended when this resolves. */
  async function portsOfAnother(count: number): Promise<number[]> {
    const file = JSON.stringify(fileURLToPath(new URL('ports.ts', import.meta.url)));
    const script = `import { freePorts } from ${file}; console.log(JSON.stringify(await freePorts(${count}, ${JSON.stringify(claims)})))`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '--eval', script]);
    return JSON.parse(stdout);
  }

  /** Leaves only this one. */
  function holdAllBut(free: number): void {
    for (let port = FIRST; port <= LAST; port++) if (port !== free) writeFileSync(join(claims, String(port)), String(process.pid));
  }

  it('are different, and none of those that systems give away by themselves', async () => {
    const ports = await freePorts(300, claims);
    expect(new Set(ports).size).toBe(300);
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(FIRST);
    expect(Math.max(...ports)).toBeLessThanOrEqual(LAST);
  });

  it("are nobody else's as long as their process lives, also when nothing listens there", async () => {
    holdAllBut(FIRST + 7);
    expect(await portsOfAnother(1)).toEqual([FIRST + 7]);
    await freePorts(1, claims).then(async ([own]) => {
      expect(own).toBe(FIRST + 7);
      await expect(portsOfAnother(1)).rejects.toThrow('no 1 free ports');
    });
  });

  it('are given again when their process is gone', async () => {
    const [port = 0] = await portsOfAnother(1);
    holdAllBut(port);
    expect(await freePorts(1, claims)).toEqual([port]);
    expect(readFileSync(join(claims, String(port)), 'utf8')).toBe(String(process.pid));
  });

  it('are not those where somebody listens', async () => {
    const [port = 0] = await freePorts(1);
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    try {
      holdAllBut(port);
      await expect(freePorts(1, claims)).rejects.toThrow('no 1 free ports');
    } finally {
      await new Promise((resolve) => holder.close(resolve));
    }
  });
});
