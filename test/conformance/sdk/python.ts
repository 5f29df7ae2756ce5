/** Client libraries of Python, each file of them in a process of its own that is told what to do line by line. */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { DialectName } from '@meridian/domain/dialect';
import { type Client, type Conversation, type Raised, RemoteError, type Sdk, type Turn } from './sdk.ts';

const FOLDER = fileURLToPath(new URL('python/', import.meta.url));

/** Says by name what is missing; undefined where all of it is there. */
export function missingPython(packages: readonly string[]): string | undefined {
  const isThere = (name: string): boolean => {
    try {
      // Found, not imported: some of them take seconds.
      execFileSync('python3', ['-c', `import importlib.util, sys; sys.exit(importlib.util.find_spec("${name}") is None)`], {
        stdio: 'ignore',
      });
      return true;
    } catch {
      return false;
    }
  };
  const missing = packages.filter((name) => !isThere(name));
  return missing.length === 0 ? undefined : `python3 with ${missing.join(', ')} is not here`;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly raised?: Raised;
}

/** How long the libraries may take to be imported. */
export const IMPORT_MS = 180_000;

type Command = Readonly<Record<string, unknown>> & { readonly op: string };

/** One file of libraries; started with the first command, or by `ready`. */
export class PythonProcess {
  readonly #module: string;
  readonly #waiting = new Map<number, { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }>();
  #child: ChildProcessWithoutNullStreams | undefined;
  #lastId = 0;
  #complaints = '';

  /** `module` is the name of a file in python/. */
  constructor(module: string) {
    this.#module = module;
  }

  /** Rejects with RemoteError where the library raises. */
  tell(command: Command): Promise<unknown> {
    const child = this.#started();
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  /** When the libraries are imported, which takes many seconds on a busy machine. */
  async ready(): Promise<void> {
    await this.tell({ op: 'ping' });
  }

  /** A number that no other client or conversation of this process has. */
  newName(): number {
    return ++this.#lastId;
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await gone;
  }

  #started(): ChildProcessWithoutNullStreams {
    if (this.#child !== undefined) return this.#child;
    const child = spawn('python3', [`${FOLDER}driver.py`, this.#module], {
      stdio: 'pipe',
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
    });
    child.stderr.on('data', (bytes: Buffer) => {
      this.#complaints = (this.#complaints + bytes.toString()).slice(-2_000);
    });
    child.stdin.on('error', () => {});
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`python3 is gone: ${this.#complaints}`));
      this.#waiting.clear();
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, value, raised } = JSON.parse(line) as Answer;
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (raised === undefined) waiting?.resolve(value);
      else waiting?.reject(new RemoteError(raised));
    });
    this.#child = child;
    return child;
  }
}

/** One of the libraries of a process: `sdk` is its key in the file's SDKS. */
export function pythonSdk(python: PythonProcess, sdk: string, name: string, dialect: DialectName): Sdk {
  return { name, dialect, connect: (url, key) => connect(python, sdk, url, key) };
}

function connect(python: PythonProcess, sdk: string, url: string, key: string): Client {
  const client = python.newName();
  const made = python.tell({ op: 'connect', client, sdk, url, key });
  // Whoever uses it is told; nobody may.
  made.catch(() => {});
  const tell = async (command: Command): Promise<unknown> => {
    await made;
    return python.tell({ client, ...command });
  };
  return {
    converse: (terms): Conversation => {
      const conversation = python.newName();
      const begun = tell({ op: 'converse', conversation, terms });
      begun.catch(() => {});
      const ask = async (op: string, value: unknown): Promise<Turn> => {
        await begun;
        const turn = (await python.tell({ op, conversation, value })) as Turn;
        return turn;
      };
      return {
        say: (parts) => ask('say', parts),
        answerCalls: (results) => ask('answer_calls', results),
        leave: async (text) => {
          await ask('leave', text);
        },
      };
    },
    models: async () => (await tell({ op: 'models' })) as string[],
    countTokens: async (model, value) => (await tell({ op: 'count_tokens', model, value })) as number,
    embed: async (model, value) => (await tell({ op: 'embed', model, value })) as number[][],
  };
}
