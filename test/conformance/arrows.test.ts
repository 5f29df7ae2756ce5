/** Holds the import lines of the sources to the arrows that the READMEs draw. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Which packages a package may import. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  'proto/domain': [],
  'proto/wire': ['proto/domain'],
  'control-plane': ['proto/wire', 'proto/domain'],
  'data-plane': ['proto/wire', 'proto/domain'],
  'deploy/local': ['proto/wire', 'proto/domain', 'control-plane', 'data-plane'],
  test: ['proto/wire', 'proto/domain', 'control-plane', 'data-plane', 'deploy/local'],
};

/** Gives ports of this machine to the tests of all packages; imports nothing. */
const FOR_ALL_TESTS = 'test/ports.ts';

/** Rooms of the data plane → rooms they may import; `domain`, telemetry and themselves are open to all. `*` is everything. */
const DATA_PLANE: Readonly<Record<string, readonly string[]>> = {
  canonical: [],
  dialect: ['canonical'],
  provider: ['dialect'],
  upstream: [],
  admission: ['canonical'],
  routing: ['provider', 'upstream', 'dialect', 'canonical'],
  metering: ['canonical'],
  control: ['admission', 'routing', 'metering'],
  redis: [],
  idempotency: ['exchange', 'routing'],
  telemetry: [],
  exchange: ['admission', 'routing', 'dialect', 'canonical'],
  pipeline: ['exchange', 'admission', 'routing', 'metering', 'dialect', 'canonical'],
  server: ['pipeline', 'exchange', 'dialect', 'canonical', 'admission', 'routing', 'upstream'],
  config: [],
  'request-path': [
    'admission',
    'canonical',
    'config',
    'dialect',
    'exchange',
    'idempotency',
    'metering',
    'pipeline',
    'provider',
    'routing',
    'server',
    'upstream',
  ],
  app: ['*'],
  main: ['app', 'config'],
};

/** Rooms of the data plane that speak to the control plane's schema. */
const WIRE_ROOMS = ['control', 'app'];

/** Packages that may be imported in one place only. */
const AT_THE_EDGE: readonly { readonly name: RegExp; readonly allowed: RegExp }[] = [
  { name: /^undici$/, allowed: /^(data-plane\/src\/upstream\/|test\/)/ },
  {
    name: /^fastify$|^@fastify\//,
    allowed: /^(data-plane\/src\/server\/|control-plane\/src\/http\/|control-plane\/src\/[a-z]+\/routes\.ts)/,
  },
  { name: /^@grpc\/grpc-js$/, allowed: /^(proto\/wire\/src\/|control-plane\/src\/rpc\/|data-plane\/src\/control\/|test\/)/ },
  { name: /^ws$/, allowed: /^(data-plane\/src\/server\/websocket\/|test\/)/ },
  { name: /^ioredis$/, allowed: /^(data-plane\/src\/redis\/|test\/)/ },
  { name: /^pg$/, allowed: /^(control-plane\/src\/database\/|test\/|deploy\/)/ },
];

/** Files that may read the environment: the settings of each plane, and commands of their own. */
const READS_ENVIRONMENT =
  /^(control-plane\/src\/(config|main)\.ts|data-plane\/src\/(config|main)\.ts|control-plane\/src\/(database\/|[a-z-]+\/main\.ts)|deploy\/|test\/|vitest)/;

interface SourceFile {
  readonly path: string;
  readonly text: string;
  readonly imports: readonly string[];
}

function sources(folder: string): SourceFile[] {
  const found: SourceFile[] = [];
  const walk = (path: string): void => {
    for (const name of readdirSync(path)) {
      const child = join(path, name);
      if (statSync(child).isDirectory()) {
        if (!['node_modules', 'gen', 'results'].includes(name)) walk(child);
      } else if (name.endsWith('.ts')) {
        const text = readFileSync(child, 'utf8');
        const imports = [
          ...text.matchAll(
            /(?:^|\n)\s*(?:import|export)\s[^'"]*?from\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s*['"]([^'"]+)['"]/g,
          ),
        ].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
        found.push({ path: relative(ROOT, child), text, imports });
      }
    }
  };
  walk(join(ROOT, folder));
  return found;
}

const FILES = Object.keys(PACKAGES).flatMap((folder) => sources(folder));
const isTest = (file: SourceFile): boolean => /\.test\.ts$|testing/.test(file.path);

function packageOf(path: string): string {
  return Object.keys(PACKAGES).find((name) => path.startsWith(`${name}/`)) ?? '';
}

/** The project's file or package that an import line names; undefined for other packages. */
function target(file: SourceFile, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return relative(ROOT, resolve(ROOT, dirname(file.path), specifier));
  const own = /^@meridian\/([a-z-]+)(?:\/(.*))?$/.exec(specifier);
  if (own === null) return undefined;
  const folder = { domain: 'proto/domain', wire: 'proto/wire', local: 'deploy/local' }[own[1] ?? ''] ?? own[1];
  return `${folder}/src/${own[2] ?? ''}`;
}

function room(path: string, plane: string): string | undefined {
  return new RegExp(`^${plane}/src/([a-z-]+)(?:/|\\.ts$)`).exec(path)?.[1];
}

describe('imports follow the arrows', () => {
  it('sees the sources at all', () => {
    expect(FILES.length).toBeGreaterThan(60);
    expect(FILES.filter((file) => file.imports.length > 0).length).toBeGreaterThan(50);
  });

  it('between packages', () => {
    const wrong: string[] = [];
    for (const file of FILES) {
      const from = packageOf(file.path);
      for (const specifier of file.imports) {
        const path = target(file, specifier) ?? '';
        const to = packageOf(path);
        if (isTest(file) && path === FOR_ALL_TESTS) continue;
        if (to !== '' && to !== from && PACKAGES[from]?.includes(to) !== true) wrong.push(`${file.path} → ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('between the rooms of the data plane', () => {
    const wrong: string[] = [];
    for (const file of FILES.filter((source) => source.path.startsWith('data-plane/src/') && !isTest(source))) {
      const from = room(file.path, 'data-plane') ?? '';
      const allowed = DATA_PLANE[from];
      if (allowed === undefined) {
        wrong.push(`${file.path} is in a room without arrows`);
        continue;
      }
      for (const specifier of file.imports) {
        const path = target(file, specifier);
        if (path === undefined) continue;
        if (path.startsWith('proto/wire/') && !WIRE_ROOMS.includes(from)) wrong.push(`${file.path} → ${specifier}`);
        const to = room(path, 'data-plane');
        if (to !== undefined && to !== from && to !== 'telemetry' && !allowed.includes(to) && !allowed.includes('*'))
          wrong.push(`${file.path} → ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('no dialect imports another dialect', () => {
    const wrong = FILES.flatMap((file) => {
      const own = /^data-plane\/src\/dialect\/([a-z-]+)\//.exec(file.path)?.[1];
      if (own === undefined) return [];
      return file.imports.filter((specifier) => {
        const other = /^data-plane\/src\/dialect\/([a-z-]+)\//.exec(target(file, specifier) ?? '')?.[1];
        return other !== undefined && other !== own;
      });
    });
    expect(wrong).toEqual([]);
  });

  it('a feature of the control plane calls another feature only through its service', () => {
    const wrong: string[] = [];
    for (const file of FILES.filter((source) => source.path.startsWith('control-plane/src/') && !isTest(source))) {
      const from = room(file.path, 'control-plane');
      for (const specifier of file.imports) {
        const path = target(file, specifier) ?? '';
        const to = room(path, 'control-plane');
        if (to !== undefined && to !== from && /\/store(\.ts)?$/.test(path)) wrong.push(`${file.path} → ${specifier}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('frameworks stay at the edge', () => {
    const wrong = FILES.filter((file) => !isTest(file)).flatMap((file) =>
      file.imports
        .filter((specifier) => AT_THE_EDGE.some((edge) => edge.name.test(specifier) && !edge.allowed.test(file.path)))
        .map((specifier) => `${file.path} → ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('the domain imports no package and does no I/O', () => {
    const wrong = FILES.filter((file) => file.path.startsWith('proto/domain/') && !isTest(file)).flatMap((file) =>
      file.imports
        .filter((specifier) => !specifier.startsWith('./') && !['node:crypto', 'node:zlib'].includes(specifier))
        .map((specifier) => `${file.path} → ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  it('the environment is read in one file a plane', () => {
    const wrong = FILES.filter((file) => !isTest(file) && file.text.includes('process.env') && !READS_ENVIRONMENT.test(file.path)).map(
      (file) => file.path,
    );
    expect(wrong).toEqual([]);
  });

  it('no file outside canonical, dialect and provider names a vendor in code', () => {
    const vendors = /\b(openai|anthropic|gemini|openrouter)\b/i;
    const wrong = FILES.filter(
      (file) =>
        file.path.startsWith('data-plane/src/') &&
        !isTest(file) &&
        !/\/(canonical|dialect|provider)\//.test(file.path) &&
        file.path !== 'data-plane/src/app.ts',
    )
      .filter((file) => vendors.test(withoutComments(file.text)))
      .map((file) => file.path);
    expect(wrong).toEqual([]);
  });
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}
