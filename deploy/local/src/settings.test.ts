import { describe, expect, it } from 'vitest';
import { type LocalSettings, readSettings } from './settings.ts';

function read(args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): LocalSettings {
  const settings = readSettings(args, env);
  if (settings === 'help') throw new Error('help');
  return settings;
}

describe('the settings of the local world', () => {
  it('simulates every provider on the default ports when nothing is set', () => {
    const settings = read();
    expect(settings.providers).toEqual([
      { providerId: 'openai', apiKey: undefined, baseUrl: undefined },
      { providerId: 'anthropic', apiKey: undefined, baseUrl: undefined },
      { providerId: 'gemini', apiKey: undefined, baseUrl: undefined },
      { providerId: 'openrouter', apiKey: undefined, baseUrl: undefined },
    ]);
    expect(settings.folder).toMatch(/\.meridian$/);
    expect(settings.databaseUrl).toBeUndefined();
    const { ports } = settings;
    expect([ports.controlHttp, ports.controlGrpc, ports.controlHealth, ports.postgres, ports.upstream]).toEqual([
      4100, 4101, 4102, 4130, 4140,
    ]);
    expect(ports.nodes).toEqual([
      { region: 'us', port: 4110, healthPort: 4111 },
      { region: 'eu', port: 4120, healthPort: 4121 },
    ]);
  });

  it('takes flags before the environment', () => {
    const env = { MERIDIAN_PORT_BASE: '5000', MERIDIAN_FOLDER: '/a' };
    expect(read([], env)).toMatchObject({ folder: '/a', ports: { controlHttp: 5000 } });
    expect(read(['--port-base', '6000', '--folder', '/b'], env)).toMatchObject({ folder: '/b', ports: { controlHttp: 6000 } });
  });

  it('takes an empty variable as absent', () => {
    const names = [
      'MERIDIAN_FOLDER',
      'MERIDIAN_PORT_BASE',
      'DATABASE_URL',
      'REDIS_URL',
      'OPENAI_API_KEY',
      'OPENAI_BASE_URL',
      'GEMINI_API_KEY',
    ];
    expect(read([], Object.fromEntries(names.map((name) => [name, ' '])))).toEqual(read());
  });

  it('reads keys and base URLs of providers, with or without each other', () => {
    const env = { OPENAI_API_KEY: ' sk-1 ', GEMINI_API_KEY: 'g-1', OPENROUTER_BASE_URL: 'http://127.0.0.1:9/x/v1/' };
    expect(read([], env).providers).toEqual([
      { providerId: 'openai', apiKey: 'sk-1', baseUrl: undefined },
      { providerId: 'anthropic', apiKey: undefined, baseUrl: undefined },
      { providerId: 'gemini', apiKey: 'g-1', baseUrl: undefined },
      { providerId: 'openrouter', apiKey: undefined, baseUrl: 'http://127.0.0.1:9/x/v1/' },
    ]);
  });

  it('gives the help', () => {
    expect(readSettings(['--help'], { DATABASE_URL: 'nonsense' })).toBe('help');
  });

  it.each([
    [['--bad'], {}, "Unknown option '--bad'"],
    [['extra'], {}, "Unexpected argument 'extra'"],
    [['--folder'], {}, '--folder'],
    [['--folder', ''], {}, '--folder must not be empty.'],
    [['--port-base', '65496'], {}, '--port-base must be a whole number from 1 to 65495'],
    [['--port-base', '0x10'], {}, '--port-base must be'],
    [['--port-base', ''], {}, '--port-base must be'],
    [[], { MERIDIAN_PORT_BASE: '-1' }, 'MERIDIAN_PORT_BASE must be'],
    [[], { DATABASE_URL: 'mysql://u:secret@h/d' }, 'DATABASE_URL must be'],
    [[], { DATABASE_URL: 'postgres://u:secret@h:port/d' }, 'DATABASE_URL must be'],
    [[], { REDIS_URL: 'http://u:secret@h' }, 'REDIS_URL must be'],
    [[], { OPENAI_API_KEY: 'secret key' }, 'OPENAI_API_KEY must be'],
    [[], { OPENAI_BASE_URL: 'localhost:8080' }, 'OPENAI_BASE_URL must be'],
    [[], { OPENROUTER_BASE_URL: 'https://u:secret@h/v1' }, 'OPENROUTER_BASE_URL must be'],
    [[], { OPENAI_BASE_URL: 'https://h/v1?key=secret' }, 'OPENAI_BASE_URL must be'],
    [[], { OPENAI_BASE_URL: 'https://h//v1' }, 'OPENAI_BASE_URL has a path'],
  ])('refuses %j %j in one line without what is secret', (args, env, line) => {
    let message = '';
    try {
      readSettings(args, env);
    } catch (error) {
      message = error instanceof Error ? error.message : String(error);
    }
    expect(message).toContain(line);
    expect(message).not.toContain('\n');
    expect(message).not.toContain('secret');
  });
});
