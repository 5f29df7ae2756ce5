/**
 * Child processes of the local world. Each runs in a process group of its own, so that Ctrl-C in the terminal reaches only
 * the parent, which stops them in order; each has a channel to the parent, so that it drains by itself when the parent dies.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const PROJECT_ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** How long a process may take to say that it is ready. */
const READY_WITHIN_MS = 30_000;
const MAX_KEPT_LINES = 50;

/** What the runtime says by itself on the way. */
const WARNING = /^\(node:\d+\)|^\(Use `/;

/** All that a process sees of its parent's environment; never a vendor's variable. */
const INHERITED = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'TZ', 'SYSTEMROOT', 'NODE_EXTRA_CA_CERTS', 'MERIDIAN_TEST_RUN'];

export interface LaunchOptions {
  readonly name: string;
  /** A TypeScript file, relative to the project's root. */
  readonly entry: string;
  readonly args?: readonly string[];
  /** Everything the process gets to see of the environment, apart from PATH, HOME and the like. */
  readonly env: Readonly<Record<string, string>>;
  /** Where its output goes; thrown away when absent. */
  readonly logFile?: string;
  readonly nodeFlags?: readonly string[];
  /** Ends a start that is under way. */
  readonly abort?: AbortSignal;
  /** Called at once with the number of the process, before it is ready. */
  readonly onSpawn?: (pid: number, entry: string) => void;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The process said why it could not start: in its errors, else in the lines it printed last. */
export class StartError extends Error {
  readonly processName: string;

  constructor(processName: string, lastLines: readonly string[]) {
    super(lastLines.length === 0 ? `${processName} did not start and gave no reason` : lastLines.join('\n'));
    this.name = 'StartError';
    this.processName = processName;
  }
}

export class ManagedProcess {
  readonly name: string;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #log: WriteStream | undefined;
  readonly #lastLines: string[] = [];
  readonly #lastErrors: string[] = [];
  #exit: Exit | undefined;
  #ready: Readonly<Record<string, unknown>> = {};

  private constructor(options: LaunchOptions) {
    this.name = options.name;
    const inherited = Object.fromEntries(INHERITED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])));
    this.#child = spawn(process.execPath, [...(options.nodeFlags ?? []), `${PROJECT_ROOT}${options.entry}`, ...(options.args ?? [])], {
      cwd: PROJECT_ROOT,
      env: { ...inherited, UV_THREADPOOL_SIZE: '8', MERIDIAN_PROCESS: options.name, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    this.#log = options.logFile === undefined ? undefined : createWriteStream(options.logFile, { flags: 'a' });
    // A full disk must not end the parent.
    this.#log?.on('error', () => {});
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (line) => {
        this.#line(line);
        if (stream === this.#child.stderr && !WARNING.test(line)) keep(this.#lastErrors, line);
      });
    }
    if (this.#child.pid !== undefined) options.onSpawn?.(this.#child.pid, options.entry);
    this.exited = new Promise((resolve) => {
      this.#child.once('error', (error) => {
        this.#line(error.message);
        this.#exit ??= { code: 1, signal: null };
        resolve(this.#exit);
      });
      this.#child.once('close', (code, signal) => {
        this.#exit ??= { code, signal };
        this.#log?.end();
        resolve(this.#exit);
      });
    });
  }

  /** Starts a process and waits until it says it is ready; throws StartError with its own words when it stops instead. */
  static async launch(options: LaunchOptions): Promise<ManagedProcess> {
    options.abort?.throwIfAborted();
    const managed = new ManagedProcess(options);
    const abort = (): void => managed.signal('SIGTERM');
    options.abort?.addEventListener('abort', abort);
    try {
      await managed.#untilReady();
    } finally {
      options.abort?.removeEventListener('abort', abort);
    }
    return managed;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** What the process said of itself when it was ready: its URLs and ports. */
  get ready(): Readonly<Record<string, unknown>> {
    return this.#ready;
  }

  /** A text that the process named when it was ready; throws when it did not. */
  readyText(field: string): string {
    const value = this.#ready[field];
    if (typeof value !== 'string') throw new Error(`${this.name} did not say its ${field}`);
    return value;
  }

  /** The last lines it printed. */
  get lastLines(): readonly string[] {
    return this.#lastLines;
  }

  signal(name: NodeJS.Signals): void {
    if (this.running) this.#child.kill(name);
  }

  /** Asks it to stop and waits; after `withinMs` it is killed. */
  async stop(withinMs = 20_000): Promise<Exit> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), withinMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** kill -9. */
  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return this.exited;
  }

  async #untilReady(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const ready = new Promise<void>((resolve) => {
      this.#child.on('message', (message: unknown) => {
        if (typeof message !== 'object' || message === null || !('type' in message) || message.type !== 'ready') return;
        this.#ready = { ...message };
        resolve();
      });
    });
    const late = new Promise<void>((_, reject) => {
      timer = setTimeout(
        () => reject(new StartError(this.name, [`${this.name} was not ready within ${READY_WITHIN_MS / 1000} s`, ...this.#lastLines])),
        READY_WITHIN_MS,
      );
    });
    const stopped = this.exited.then(() => {
      throw new StartError(this.name, this.#lastErrors.length > 0 ? this.#lastErrors : this.#lastLines);
    });
    try {
      await Promise.race([ready, late, stopped]);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      clearTimeout(timer);
      stopped.catch(() => {});
    }
  }

  #line(line: string): void {
    this.#log?.write(`${line}\n`);
    keep(this.#lastLines, line);
  }
}

function keep(lines: string[], line: string): void {
  lines.push(line);
  if (lines.length > MAX_KEPT_LINES) lines.shift();
}
