/** What is done to the arena, drawn from a seed: kills, ends, pauses, and connections that stall, break or lose one direction. */
import { pick, seededRandom } from '../random.ts';
import { REGIONS } from '../world/world.ts';
import { type Arena, nameOf, REPLICAS, type Victim } from './arena.ts';

export interface ChaosOptions {
  readonly seed: number;
  /** Processes to kill or end; it stops when they are. */
  readonly kills: number;
  /** From one blow to the next, at the mean. */
  readonly everyMs: number;
  readonly onBlow?: (text: string) => void;
}

export interface Tally {
  kills: number;
  ends: number;
  backends: number;
  pauses: number;
  disturbances: number;
}

/** One blow at a time for each victim, several victims at once. */
export class Chaos {
  readonly tally: Tally = { kills: 0, ends: 0, backends: 0, pauses: 0, disturbances: 0 };
  readonly #arena: Arena;
  readonly #options: ChaosOptions;
  readonly #random: () => number;
  readonly #busy = new Map<string, Promise<void>>();
  readonly #failures: unknown[] = [];
  #stopped = false;
  #running = false;

  constructor(arena: Arena, options: ChaosOptions) {
    this.#arena = arena;
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  get isRunning(): boolean {
    return this.#running;
  }

  get killed(): number {
    return this.tally.kills + this.tally.ends + this.tally.backends;
  }

  /** Until all kills are done or `stop` is called; then everything is healed and runs. Rejects when something did not start again. */
  async run(): Promise<void> {
    this.#running = true;
    try {
      await this.#strikeOn();
    } finally {
      this.#running = false;
    }
  }

  async #strikeOn(): Promise<void> {
    while (!this.#stopped && this.killed < this.#options.kills && this.#failures.length === 0) {
      this.#strike();
      await new Promise((resolve) => setTimeout(resolve, this.#options.everyMs * (0.5 + this.#random())));
    }
    this.#arena.heal();
    await Promise.all(this.#busy.values());
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  stop(): void {
    this.#stopped = true;
  }

  #strike(): void {
    const dice = this.#random();
    if (dice < 0.55) this.#hit(this.#victim(), this.#random() < 0.75 ? 'SIGKILL' : 'SIGTERM');
    else if (dice < 0.65) this.#hitBackend();
    else if (dice < 0.77) this.#pause(this.#victim(), 200 + this.#random() * 2_500);
    else this.#disturb();
  }

  /** Nodes most of the time; the database seldom, since everything waits for it. */
  #victim(): Victim {
    const dice = this.#random();
    if (dice < 0.12 && this.#arena.redis !== undefined) return { kind: 'redis' };
    if (dice < 0.6) return { kind: 'node', region: pick(REGIONS, this.#random()) };
    if (dice < 0.93) return { kind: 'control', replica: pick(REPLICAS, this.#random()) };
    return { kind: 'postgres' };
  }

  #hit(victim: Victim, how: 'SIGKILL' | 'SIGTERM'): void {
    this.#begin(nameOf(victim), `${how} ${nameOf(victim)}`, () => {
      if (how === 'SIGKILL') this.tally.kills++;
      else this.tally.ends++;
      return this.#arena.kill(victim, how);
    });
  }

  #hitBackend(): void {
    this.#begin('postgres', 'SIGKILL a backend of postgres', async () => {
      await this.#arena.killBackend();
      this.tally.backends++;
    });
  }

  #pause(victim: Victim, forMs: number): void {
    // Its backends would go on without the server that is paused.
    if (victim.kind === 'postgres') return;
    this.#begin(nameOf(victim), `SIGSTOP ${nameOf(victim)} for ${Math.round(forMs)} ms`, () => {
      this.tally.pauses++;
      return this.#arena.pause(victim, forMs);
    });
  }

  #disturb(): void {
    const [name, proxy] = pick([...this.#arena.proxies], this.#random());
    const direction = pick(['to_target', 'to_client'] as const, this.#random());
    const how = pick(['reset', 'stall', 'drop', 'refuse'] as const, this.#random());
    const forMs = 100 + this.#random() * 3_000;
    this.#begin(`proxy ${name}`, `${how} ${direction} ${name} for ${Math.round(forMs)} ms`, async () => {
      this.tally.disturbances++;
      if (how === 'reset') return proxy.resetAll();
      if (how === 'refuse') proxy.refuse();
      else proxy[how](direction);
      await new Promise((resolve) => setTimeout(resolve, forMs));
      proxy.heal();
    });
  }

  #begin(name: string, text: string, blow: () => Promise<void> | void): void {
    if (this.#busy.has(name)) return;
    this.#options.onBlow?.(text);
    const done = (async () => blow())()
      .catch((error: unknown) => {
        // A backend that could not be found because the server was down is no failure of the arena.
        if (!text.includes('a backend')) this.#failures.push(new Error(`after ${text}`, { cause: error }));
      })
      .finally(() => this.#busy.delete(name));
    this.#busy.set(name, done);
  }
}
