import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_TOKEN, type TestHttp, testHttp } from '../http/testing.ts';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const LIST = {
  cheap: { litellm_provider: 'openai', mode: 'chat', input_cost_per_token: 1e-6, output_cost_per_token: 4e-6 },
  whisper: { litellm_provider: 'openai', mode: 'audio_transcription', input_cost_per_second: 1e-4 },
};

let http: TestHttp;
let origin: string;
let folder: string;
let file: string;
beforeAll(async () => {
  http = await testHttp();
  origin = await http.app.listen({ host: '127.0.0.1', port: 0 });
  folder = mkdtempSync(join(tmpdir(), 'meridian-list-'));
  file = join(folder, 'list.json');
  writeFileSync(file, JSON.stringify(LIST));
});
afterAll(async () => {
  await http?.close();
  rmSync(folder, { recursive: true, force: true });
});

function run(args: readonly string[], env: Record<string, string> = {}): Promise<{ code: number; out: string; err: string }> {
  const environment = { ...process.env, MERIDIAN_CONTROL_URL: origin, MERIDIAN_ADMIN_TOKEN: ADMIN_TOKEN, ...env };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], { env: environment, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, err });
    });
  });
}

describe('the command that imports price lists', () => {
  it('shows what would change, and changes it when told to', async () => {
    const preview = await run(['import', file]);
    expect([preview.code, preview.err]).toEqual([0, '']);
    expect(preview.out).toContain('new      cheap');
    expect(preview.out).toContain('1 × models for audio_transcription are not offered, such as whisper');
    expect(preview.out).toContain('would be: 1 new, 0 priced, 0 changed, 0 unchanged, 1 refused');
    expect(preview.out).toContain('nothing was changed');
    expect((await run(['import', file, '--apply'])).out).toContain('done: 1 new');
    writeFileSync(file, JSON.stringify({ cheap: { ...LIST.cheap, input_cost_per_token: 2e-6 } }));
    const changed = await run(['import', file]);
    expect(changed.out).toContain('standard input: 1.00 → 2.00');
    expect(changed.out).not.toContain('needs --confirm');
    expect(JSON.parse((await run(['import', file, '--json', '--existing'])).out)).toMatchObject({ applied: false, counts: { changed: 1 } });
  });

  it('marks what is refused without a confirmation, and names what the list leaves out', async () => {
    await http.admin('POST', '/admin/v1/providers', {
      ...{ id: 'one', name: 'One', origin: 'https://one.example', base_path: '/v1', adapter: 'openai' },
    });
    await http.admin('POST', '/admin/v1/providers/one/credentials', { name: 'main', secret: 'sk-1' });
    const under = join(folder, 'under.json');
    const listed = { ...LIST.cheap, cache_creation_input_token_cost: 2e-6 };
    writeFileSync(under, JSON.stringify({ under: listed }));
    expect((await run(['import', under, '--apply', '--endpoint', 'openai=one'])).out).toContain('1 new');
    writeFileSync(under, JSON.stringify({ under: { ...listed, output_cost_per_token: 1e-6 } }));
    const { out } = await run(['import', under]);
    expect(out).toContain('needs --confirm: At the lowest markup, output of under (standard, above 0 input tokens) would be sold under');
    expect(out).toContain('no price for cache_write_1h: requests that ask for an hour of prompt cache are refused');
    expect(out).toContain('1 changed, 0 unchanged, 0 refused, 1 needs_confirm');
  });

  it('says in one line what is wrong', async () => {
    const missing = await run(['import', join(folder, 'no.json')]);
    expect([missing.code, missing.err]).toEqual([1, expect.stringMatching(/^catalog: .*no\.json cannot be read: ENOENT/)]);
    expect((await run(['import', file], { MERIDIAN_ADMIN_TOKEN: '' })).err).toBe('catalog: MERIDIAN_ADMIN_TOKEN is not set\n');
    expect((await run(['import', file], { MERIDIAN_ADMIN_TOKEN: 'wrong' })).err).toMatch(/^catalog: 401: /);
    expect((await run(['import', file], { MERIDIAN_CONTROL_URL: 'http://127.0.0.1:1' })).err).toMatch(
      /^catalog: http:\/\/127\.0\.0\.1:1 cannot be reached/,
    );
    expect((await run(['import', file, '--endpoint', 'openai'])).err).toContain('--endpoint is <provider of the list>=<id of ours>');
    expect((await run([])).err).toContain('say what to import');
    expect((await run(['import', file, '--nonsense'])).code).toBe(1);
    expect((await run(['--help'])).out).toContain('Usage: npm run catalog -- import <file>');
  });
});
