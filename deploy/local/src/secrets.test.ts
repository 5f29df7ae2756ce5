import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSecrets } from './secrets.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meridian-secrets-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the secrets of the local world', () => {
  it('are made once, all different, for their owner only', () => {
    const file = join(folder, 'secrets.json');
    const made = loadSecrets(file);
    expect(new Set(Object.values(made)).size).toBe(6);
    expect(loadSecrets(file)).toEqual(made);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['secrets.json']);
  });

  it.each([
    ['half a file', (text: string) => text.slice(0, 50), 'it is not JSON'],
    ['an empty file', () => '', 'it is not JSON'],
    ['no object', () => 'null', 'databasePassword is missing'],
    ['a field too few', (text: string) => JSON.stringify({ ...JSON.parse(text), sealingKey: undefined }), 'sealingKey is missing'],
    [
      'a field cut short',
      (text: string) => JSON.stringify({ ...JSON.parse(text), keyPepper: 'ab' }),
      'keyPepper is missing or not what it was',
    ],
  ])('%s: one line that names the file and no secret', (_, damage, reason) => {
    const file = join(folder, 'secrets.json');
    const made = loadSecrets(file);
    writeFileSync(file, damage(readFileSync(file, 'utf8')));
    let message = '';
    try {
      loadSecrets(file);
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    }
    expect(message).toContain(`${file} is damaged: ${reason}`);
    expect(message).not.toContain('\n');
    for (const secret of Object.values(made)) expect(message).not.toContain(secret);
  });
});
