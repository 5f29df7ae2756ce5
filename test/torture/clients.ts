/** Customers of the arena: concurrent clients of the official SDK in both regions, on keys whose caps are nearly used up. */
import { type ApiClient, textField } from '@meridian/local/operator';
import { keyWorks } from '@meridian/local/provision';
import OpenAI from 'openai';
import { pick, seededRandom } from '../random.ts';
import { REGIONS, type RegionName, until } from '../world/world.ts';
import type { Arena } from './arena.ts';

/** What a client saw of one request. */
export interface Sent {
  /** Also in the provider's journal, as the client's marker. */
  readonly ref: string;
  readonly keyId: string;
  readonly region: RegionName;
  readonly stream: boolean;
  /** `complete`: the whole answer arrived · `left`: the client gave up · `refused`: 402 · `error`: any other error or a broken connection. */
  end: 'complete' | 'left' | 'refused' | 'error';
  /** HTTP status where there was one. */
  status: number | undefined;
  code: string | undefined;
}

export interface CappedKey {
  readonly id: string;
  readonly key: string;
  /** The highest daily limit it ever had. */
  limitUsd: number;
}

export interface ClientsOptions {
  /** At least so many … */
  readonly requests: number;
  readonly concurrency: number;
  readonly keys: number;
  readonly seed: number;
}

const MODELS = ['gpt-4o-mini', 'gpt-4.1-mini', 'gpt-4.1-nano'];
/** Some two hundred requests of this traffic. */
const CAP_STEP_USD = 0.005;
/** Longer than a control plane that stands still is waited for, shorter than a node that does. */
const CLIENT_TIMEOUT_MS = 8_000;
const PAUSE_AFTER_ERROR_MS = 250;

export class Clients {
  readonly sent: Sent[] = [];
  readonly keys: CappedKey[] = [];
  readonly #arena: Arena;
  readonly #options: ClientsOptions;
  /** … and more for as long as this holds. */
  readonly #goOn: () => boolean;
  readonly #raising = new Map<string, Promise<void>>();
  #started = 0;
  #stopped = false;

  constructor(arena: Arena, options: ClientsOptions, goOn: () => boolean) {
    this.#arena = arena;
    this.#options = options;
    this.#goOn = goOn;
  }

  get finished(): number {
    return this.sent.length;
  }

  /** Makes the keys, each with a daily cap. */
  async prepare(): Promise<void> {
    for (let index = 0; index < this.#options.keys; index++) {
      const made = await this.#arena.account.post('/v1/keys', { name: `torture ${index}`, caps: { daily_usd: CAP_STEP_USD } });
      this.keys.push({ id: textField(made, 'id'), key: textField(made, 'key'), limitUsd: CAP_STEP_USD });
    }
    for (const { key } of this.keys) {
      for (const region of REGIONS) await until(() => keyWorks(this.#arena.nodeUrl(region), key), `the key to work in ${region}`);
    }
  }

  /** Sends all of it. Rejects never; what went wrong is in `sent`. */
  async run(): Promise<void> {
    await Promise.all(Array.from({ length: this.#options.concurrency }, (_, index) => this.#work(index)));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #work(worker: number): Promise<void> {
    const random = seededRandom(this.#options.seed * 1_000 + worker);
    while (!this.#stopped && (this.#started < this.#options.requests || this.#goOn())) {
      const number = this.#started++;
      const key = pick(this.keys, random());
      const region = pick(REGIONS, random());
      const sent = await this.#send(`t${this.#options.seed}-${number}`, key, region, random);
      this.sent.push(sent);
      if (sent.end === 'refused') await this.#raise(key);
      else if (sent.end === 'error') await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_ERROR_MS));
    }
  }

  async #send(ref: string, key: CappedKey, region: RegionName, random: () => number): Promise<Sent> {
    const client = new OpenAI({
      baseURL: `${this.#arena.clientUrl(region)}/v1`,
      apiKey: key.key,
      maxRetries: 0,
      timeout: CLIENT_TIMEOUT_MS,
    });
    const stream = random() < 0.4;
    const tokens = 2 + Math.floor(random() * 30);
    const paceMs = random() < 0.2 ? 10 : 0;
    const sent: Sent = { ref, keyId: key.id, region, stream, end: 'complete', status: undefined, code: undefined };
    const ask = {
      model: pick(MODELS, random()),
      max_tokens: pick([32, 64, 256], random()),
      messages: [{ role: 'user' as const, content: `Say something. [[ref ${ref}]] [[sim tokens=${tokens};pace_ms=${paceMs}]]` }],
    };
    const leave = random() < 0.02;
    try {
      if (!stream) {
        await client.chat.completions.create(ask);
        return sent;
      }
      let finished = false;
      const chunks = await client.chat.completions.create({ ...ask, stream: true });
      for await (const chunk of chunks) {
        if (chunk.choices[0]?.finish_reason) finished = true;
        if (leave) {
          sent.end = 'left';
          chunks.controller.abort();
          return sent;
        }
      }
      // The SDK takes a closed connection for the end of a stream.
      if (!finished) sent.end = 'error';
    } catch (error) {
      sent.end = error instanceof OpenAI.APIConnectionTimeoutError ? 'left' : 'error';
      if (error instanceof OpenAI.APIError && error.status !== undefined) {
        sent.status = error.status;
        sent.code = error.code ?? undefined;
        if (error.status === 402) sent.end = 'refused';
      }
    }
    return sent;
  }

  /** The customer raises the cap, and tries at both replicas until one takes it. One at a time a key. */
  async #raise(key: CappedKey): Promise<void> {
    const running = this.#raising.get(key.id);
    if (running !== undefined) return running;
    const raised = this.#raiseNow(key).finally(() => this.#raising.delete(key.id));
    this.#raising.set(key.id, raised);
    return raised;
  }

  async #raiseNow(key: CappedKey): Promise<void> {
    const limitUsd = Math.round((key.limitUsd + CAP_STEP_USD) * 1_000) / 1_000;
    // Whether it was taken is not known when the connection breaks: the higher limit is what counts from now on.
    key.limitUsd = limitUsd;
    const change = { caps: { daily_usd: limitUsd } };
    for (let attempt = 0; attempt < 20 && !this.#stopped; attempt++) {
      const client: ApiClient = attempt % 2 === 0 ? this.#arena.account : this.#arena.otherAccount;
      try {
        await client.patch(`/v1/keys/${key.id}`, change);
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    }
  }
}
