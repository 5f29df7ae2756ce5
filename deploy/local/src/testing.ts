/** Runs `npm start`'s program as a user does: a process of its own, its output, its signals, and what it leaves behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePortBase } from '../../../test/ports.ts';
import type { LocalWorldFile } from './greeting.ts';
import { refuseTakenPorts } from './ports.ts';
import { PROJECT_ROOT } from './process.ts';
import { readSettings } from './settings.ts';

const LOOK_AGAIN_AFTER_MS = 20;
const PORTS_OF_A_WORLD = 41;

/** A folder and ports for one world, over as many starts as a test needs. */
export class Place {
  readonly folder: string;
  readonly portBase: number;

  private constructor(folder: string, portBase: number) {
    this.folder = folder;
    this.portBase = portBase;
  }

  static async make(): Promise<Place> {
    const folder = mkdtempSync(join(tmpdir(), 'meridian-local-'));
    // As root, PostgreSQL runs as somebody else.
    chmodSync(folder, 0o755);
    const portBase = await freePortBase(PORTS_OF_A_WORLD, async (base) => {
      const settings = readSettings(['--port-base', String(base)], {});
      if (settings === 'help') throw new Error('these are not the flags that ask for help');
      return refuseTakenPorts(settings, true).then(
        () => true,
        () => false,
      );
    });
    return new Place(folder, portBase);
  }

  start(env: Readonly<Record<string, string>> = {}): Started {
    return new Started(['--folder', this.folder, '--port-base', String(this.portBase)], { TMPDIR: this.folder, ...env });
  }

  file(): LocalWorldFile {
    return JSON.parse(readFileSync(join(this.folder, 'local.json'), 'utf8'));
  }

  /** Command lines and environments of what runs for this folder, by number. */
  processes(): Map<number, { readonly command: string; readonly environment: string }> {
    const found = new Map<number, { command: string; environment: string }>();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
        const environment = readFileSync(`/proc/${name}/environ`, 'utf8');
        if (command.includes(this.folder) || environment.includes(`TMPDIR=${this.folder}`))
          found.set(Number(name), { command, environment });
      } catch {
        // It ended while we looked.
      }
    }
    return found;
  }

  /** Waits until nothing runs for this folder; throws with what still does. */
  async quiet(withinMs: number): Promise<void> {
    const until = Date.now() + withinMs;
    while (this.processes().size > 0) {
      if (Date.now() > until) throw new Error(`still running: ${[...this.processes().values()].map((one) => one.command).join('\n')}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_AFTER_MS));
    }
  }

  remove(): void {
    for (const pid of this.processes().keys()) process.kill(pid, 'SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** One start. */
export class Started {
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  #stdout = '';
  #stderr = '';
  #changed: () => void = () => {};

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    const inherited = ['PATH', 'HOME', 'MERIDIAN_TEST_RUN'].flatMap((name) =>
      process.env[name] === undefined ? [] : [[name, process.env[name]]],
    );
    this.#child = spawn(process.execPath, ['deploy/local/src/main.ts', ...args], {
      cwd: PROJECT_ROOT,
      env: { ...Object.fromEntries(inherited), MERIDIAN_PROCESS: 'local', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#changed();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#changed();
    });
    this.exited = new Promise((resolve) => {
      // Its own end, not that of its pipes.
      this.#child.once('exit', (code, signal) => resolve({ code, signal }));
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Waits for a text in what it prints; throws with everything it printed when it ends first. */
  async said(text: string): Promise<void> {
    const ended = this.exited.then(() => 'ended');
    while (!this.#stdout.includes(text)) {
      const more = new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
      if (this.#stdout.includes(text)) return;
      if ((await Promise.race([more, ended])) === 'ended' && !this.#stdout.includes(text)) {
        throw new Error(`it ended before it said "${text}":\n${this.#stdout}${this.#stderr}`);
      }
    }
  }

  running(): Promise<void> {
    return this.said('Ctrl-C stops everything.');
  }

  /** The line below a heading of the greeting, as a user would copy it. */
  printed(heading: string): string {
    const lines = this.#stdout.split('\n');
    const line = lines[lines.findIndex((one) => one.startsWith(heading)) + 1]?.trim();
    if (line === undefined || line === '') throw new Error(`nothing is printed below ${heading}`);
    return line;
  }

  async stop(): Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }> {
    this.signal('SIGINT');
    return this.exited;
  }
}
