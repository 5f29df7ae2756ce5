/** `npm start` as its user meets it: real processes, the printed lines executed as printed, every way to end it. */
import { exec } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { emptyTestDatabase } from '@meridian/control-plane/database/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { ApiClient, listField, textField } from './operator.ts';
import { PROJECT_ROOT } from './process.ts';
import { RECORDINGS_FOLDER } from './recordings.ts';
import { Place, Started } from './testing.ts';

const VENDOR_KEY = 'sk-vendor-0123456789abcdef';
const CREDIT_NANO = 25_000_000_000n;
/** Draining and the last report have limits of their own below this. */
const QUIET_WITHIN_MS = 20_000;

/** Runs a line as a user pastes it, in the project's folder. */
async function shell(line: string): Promise<string> {
  const path = `${join(PROJECT_ROOT, 'node_modules/.bin')}:${process.env.PATH}`;
  return (await promisify(exec)(line, { cwd: PROJECT_ROOT, env: { HOME: process.env.HOME, PATH: path } })).stdout;
}

const pythonIsHere = await shell("python3 -c 'import openai'").then(
  () => true,
  () => false,
);
if (!pythonIsHere) console.log('python3 with the openai package is not here: the printed Python line is not run');
if (!existsSync(RECORDINGS_FOLDER)) console.log('the recordings are not here: none is played');

async function ask(baseUrl: string, key: string, model: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`${baseUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello, Meridian!' }] }),
  });
  return { status: response.status, text: await response.text() };
}

async function balanceNano(place: Place): Promise<bigint> {
  const { control_plane_url, account_token } = place.file();
  const me = await new ApiClient(control_plane_url, account_token).get('/v1/me');
  const { balance } = me;
  if (typeof balance !== 'object' || balance === null) throw new Error('there is no balance');
  return BigInt(textField({ ...balance }, 'balance_nano'));
}

/** An origin of ours in a vendor's place, which keeps what it was sent. */
async function vendor(): Promise<{ server: Server; baseUrl: string; calls: { path: string; authorization: string }[] }> {
  const calls: { path: string; authorization: string }[] = [];
  const server = createServer((request, response) => {
    calls.push({ path: request.url ?? '', authorization: request.headers.authorization ?? '' });
    request.resume().on('end', () => {
      response.setHeader('content-type', 'application/json');
      const choices = [{ index: 0, message: { role: 'assistant', content: 'from our own origin' }, finish_reason: 'stop' }];
      const usage = { prompt_tokens: 1000, completion_tokens: 1000, total_tokens: 2000 };
      response.end(JSON.stringify({ id: 'one', object: 'chat.completion', created: 1, model: 'gpt-5.4-mini', choices, usage }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { server, baseUrl: `http://127.0.0.1:${port}/some/path/v1`, calls };
}

describe.skipIf(!existsSync('/proc/self/environ'))('npm start', () => {
  describe('on a server of the user', () => {
    let place: Place;
    let database: Awaited<ReturnType<typeof emptyTestDatabase>>;
    beforeAll(async () => {
      place = await Place.make();
      database = await emptyTestDatabase();
    });
    afterAll(async () => {
      place.remove();
      await database.drop();
    });

    let firstKey = '';

    it('calls the origin that OPENAI_BASE_URL names, with the key, which no node sees in its environment', {
      timeout: 60_000,
    }, async () => {
      const { server, baseUrl, calls } = await vendor();
      const world = place.start({ DATABASE_URL: database.url, OPENAI_API_KEY: VENDOR_KEY, OPENAI_BASE_URL: baseUrl });
      await world.running();
      expect(world.stdout).toContain(`openai: ${baseUrl}`);
      expect(world.stdout).not.toContain(VENDOR_KEY);
      const file = place.file();
      firstKey = file.api_key;
      expect(Object.keys(file)).toEqual(['control_plane_url', 'admin_token', 'account_token', 'regions', 'api_key']);
      expect(Object.keys(file.regions)).toEqual(['us', 'eu']);
      for (const url of Object.values(file.regions)) {
        const answer = await ask(url, file.api_key, 'gpt-5.4-mini');
        expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('from our own origin') });
      }
      const call = { path: '/some/path/v1/chat/completions', authorization: `Bearer ${VENDOR_KEY}` };
      expect(calls).toEqual([call, call]);

      const children = [...place.processes().values()].filter(({ command }) => !command.includes('deploy/local/src/main.ts'));
      expect(children.filter(({ command }) => command.includes('data-plane/src/main.ts'))).toHaveLength(2);
      expect(children.filter(({ command }) => command.includes('postgres-main.ts'))).toHaveLength(0);
      for (const { command, environment } of children) {
        expect(environment, command).not.toContain(VENDOR_KEY);
        expect(environment, command).not.toContain('OPENAI_');
      }
      const credentials = await new ApiClient(file.control_plane_url, file.admin_token).get('/admin/v1/credentials');
      expect(JSON.stringify(credentials)).not.toContain(VENDOR_KEY);
      expect(listField(credentials).find((one) => one.provider_id === 'openai')?.last_four).toBe(VENDOR_KEY.slice(-4));

      expect(await world.stop()).toEqual({ code: 0, signal: null });
      expect(place.processes().size).toBe(0);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });

    describe('started again without the variables', () => {
      let world: Started;
      beforeAll(async () => {
        world = place.start({ DATABASE_URL: database.url });
        await world.running();
      }, 60_000);

      it('is simulated again, with the same key, account and balance, and an account token that works', async () => {
        expect(world.stdout).toContain('openai: simulated');
        const { regions, api_key, control_plane_url, account_token } = place.file();
        expect(api_key).toBe(firstKey);
        expect(await balanceNano(place)).toBeLessThan(CREDIT_NANO);
        const keys = listField(await new ApiClient(control_plane_url, account_token).get('/v1/keys?include_revoked=true'));
        expect(keys).toHaveLength(1);
        const answer = await ask(regions.us ?? '', api_key, 'gpt-5.4-mini');
        expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('You said: Hello, Meridian!') });
      });

      it('prints a curl line that works', async () => {
        expect(await shell(world.printed('curl'))).toContain('You said: Hello, Meridian!');
      });

      it('prints a JavaScript line that works in the project', { timeout: 30_000 }, async () => {
        expect((await shell(world.printed('JavaScript'))).trim()).toBe('You said: Hello, Meridian!');
      });

      it.skipIf(!pythonIsHere)('prints a Python line that works', { timeout: 30_000 }, async () => {
        expect((await shell(world.printed('Python'))).trim()).toBe('You said: Hello, Meridian!');
      });

      it.skipIf(!existsSync(RECORDINGS_FOLDER))('plays recorded exchanges by name', async () => {
        const { regions, api_key } = place.file();
        const recorded = JSON.parse(readFileSync(join(RECORDINGS_FOLDER, 'alibaba/chat/vc-alibaba-tool-call.json'), 'utf8'));
        const answer = await ask(regions.eu ?? '', api_key, 'sim/vc-alibaba-tool-call');
        expect(JSON.parse(answer.text)).toMatchObject({ id: recorded.id, choices: recorded.choices });
        expect(JSON.parse(answer.text).usage.cost_usd).toBeGreaterThan(0);
      });

      it('refuses a second start in the same folder with one line', async () => {
        const second = place.start({ DATABASE_URL: database.url });
        expect(await second.exited).toEqual({ code: 1, signal: null });
        expect(second.stderr.trim()).toBe(
          `Meridian already runs in ${place.folder}. Stop it there, or choose another folder with --folder (and --port-base).`,
        );
      });

      it('names the port that a start in another folder finds taken', async () => {
        const other = join(place.folder, 'other');
        const second = new Started(['--folder', other, '--port-base', String(place.portBase)], { DATABASE_URL: database.url });
        expect(await second.exited).toEqual({ code: 1, signal: null });
        expect(second.stderr.trim()).toBe(
          `Port ${place.portBase} (control plane) is taken. Stop what listens there, or choose other ports with --port-base.`,
        );
      });

      it('leaves no process when it is killed with -9, and starts again at once', { timeout: 60_000 }, async () => {
        const before = await balanceNano(place);
        world.signal('SIGKILL');
        await world.exited;
        // Not waited for: the next start has to cope with what still drains.
        const next = place.start({ DATABASE_URL: database.url });
        await next.running();
        expect(place.file().api_key).toBe(firstKey);
        // What was reported stays; what the killed world had not reported yet arrives now.
        expect(await balanceNano(place)).toBeLessThanOrEqual(before);
        next.signal('SIGKILL');
        await next.exited;
        await place.quiet(QUIET_WITHIN_MS);
      });
    });
  });

  describe('with the embedded server', () => {
    let place: Place;
    beforeEach(async () => {
      place = await Place.make();
    });
    afterEach(() => place.remove());

    it('survives Ctrl-C twice and kill -9 at every step of its first start', { timeout: 120_000 }, async () => {
      for (const step of ['PostgreSQL', 'control plane']) {
        const interrupted = place.start();
        await interrupted.said(`  ${step} …`);
        interrupted.signal('SIGINT');
        await interrupted.said('Stopping…');
        interrupted.signal('SIGINT');
        expect(await interrupted.exited).toEqual({ code: 0, signal: null });
        expect(interrupted.stderr).toBe('');
        expect(interrupted.stdout.trim().endsWith('Stopped.')).toBe(true);
        expect(place.processes().size).toBe(0);

        const killed = place.start();
        await killed.said(`  ${step} …`);
        killed.signal('SIGKILL');
        await killed.exited;
        await place.quiet(QUIET_WITHIN_MS);
      }

      const world = place.start();
      await world.running();
      const { regions, api_key } = place.file();
      expect((await ask(regions.us ?? '', api_key, 'gpt-5.4-mini')).status).toBe(200);
      // Every part is a process of its own, and the server is one of them.
      const commands = [...place.processes().values()].map(({ command }) => command);
      for (const part of ['postgres-main.ts', 'control-plane/src/main.ts', 'test/upstream/src/main.ts', `-D ${place.folder}/postgres`]) {
        expect(
          commands.filter((command) => command.includes(part)),
          part,
        ).toHaveLength(1);
      }

      // The server outlives its owner when that is killed, too; the whole world ends then, and the next start ends the server.
      const owner = [...place.processes()].find(([, { command }]) => command.includes('postgres-main.ts'));
      process.kill(owner?.[0] ?? 0, 'SIGKILL');
      expect(await world.exited).toEqual({ code: 1, signal: null });
      expect(world.stderr).toContain('postgres stopped (SIGKILL); its log is');
      const next = place.start();
      await next.running();
      expect(place.file().api_key).toBe(api_key);
      expect(await next.stop()).toEqual({ code: 0, signal: null });
      expect(place.processes().size).toBe(0);
    });

    it.skipIf(process.getuid?.() !== 0)('names the folder that its user may not enter', async () => {
      const closed = join(place.folder, 'closed');
      mkdirSync(closed, { mode: 0o700 });
      const world = new Started(['--folder', join(closed, 'data'), '--port-base', String(place.portBase)], {});
      expect(await world.exited).toEqual({ code: 1, signal: null });
      expect(world.stderr.trim()).toMatch(/^As root, PostgreSQL runs as the user postgres, who may not enter .*\/closed\. .*chmod o\+x/);
      expect(world.stderr.trim()).not.toContain('\n');
    });

    it('does not hide data behind new secrets', async () => {
      mkdirSync(join(place.folder, 'postgres'));
      const world = place.start();
      expect(await world.exited).toEqual({ code: 1, signal: null });
      expect(world.stderr).toMatch(/secrets\.json is gone, and the data beside it cannot be used/);
    });
  });

  describe('that cannot work', () => {
    let place: Place;
    beforeEach(async () => {
      place = await Place.make();
    });
    afterEach(() => place.remove());

    async function refusal(world: Started): Promise<string> {
      const { code } = await world.exited;
      expect(code).toBeGreaterThan(0);
      expect(world.stderr.trim().split('\n'), world.stderr).toHaveLength(1);
      await place.quiet(QUIET_WITHIN_MS);
      return world.stderr.trim();
    }

    it('says that the database cannot be reached', async () => {
      const url = `postgres://someone:secret@127.0.0.1:${place.portBase + 30}/nothing`;
      const line = await refusal(place.start({ DATABASE_URL: url }));
      expect(line).toMatch(/^DATABASE_URL: the PostgreSQL server at 127\.0\.0\.1:\d+\/nothing cannot be used: .*ECONNREFUSED/);
      expect(line).not.toContain('secret');
    });

    it('says that the database does not exist', async () => {
      const url = new URL(inject('databaseServerUrl'));
      url.pathname = '/there_is_no_such_database';
      const line = await refusal(place.start({ DATABASE_URL: url.href }));
      expect(line).toMatch(/^DATABASE_URL: .*database "there_is_no_such_database" does not exist/);
    });

    it('says that a flag or a variable is wrong', async () => {
      expect(await refusal(new Started(['--bad'], {}))).toContain("Unknown option '--bad'");
      expect(await refusal(place.start({ DATABASE_URL: 'localhost' }))).toMatch(/^DATABASE_URL must be a URL/);
    });

    it('says that the folder cannot be written', async () => {
      writeFileSync(join(place.folder, 'file'), '');
      const below = join(place.folder, 'file', 'data');
      expect(await refusal(new Started(['--folder', below], {}))).toBe(
        `The folder ${below} cannot be written (ENOTDIR). Choose another with --folder.`,
      );
    });

    it.skipIf(process.getuid?.() === 0)('says that the folder is read-only', async () => {
      const closed = join(place.folder, 'closed');
      mkdirSync(closed);
      chmodSync(closed, 0o500);
      expect(await refusal(new Started(['--folder', closed], {}))).toContain(`The folder ${closed} cannot be written (EACCES)`);
      rmSync(closed, { recursive: true, force: true });
    });

    it('says that the secrets are damaged', async () => {
      writeFileSync(join(place.folder, 'secrets.json'), '{"databasePassword": "');
      expect(await refusal(place.start())).toContain('secrets.json is damaged: it is not JSON');
    });
  });
});
