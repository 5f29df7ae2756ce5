/**
 * Clients of the arena: concurrent, in both regions, in all four dialects, for models whose providers speak each of them, on keys whose caps
 * are nearly used up. Some give an idempotency key and ask again until they have their answer.
 */
import { randomUUID } from 'node:crypto';
import type { DialectName } from '@meridian/domain/dialect';
import { keyWorks } from '@meridian/local/provision';
import { pick, seededRandom } from '../random.ts';
import { REGIONS, type RegionName, until } from '../world/world.ts';
import type { Arena } from './arena.ts';
import { callOf, endingOf, type Question } from './client-dialects.ts';
import type { CapScope, CustomerKey, Customers } from './customers.ts';

/** What a client saw of one request; one that is asked again is several. */
export interface Sent {
  /** Also in the provider's journal, as the client's marker; the same when it is asked again. */
  readonly ref: string;
  readonly keyId: string;
  readonly region: RegionName;
  readonly dialect: DialectName;
  readonly model: string;
  readonly stream: boolean;
  readonly idempotencyKey: string | undefined;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  endMs: number;
  /**
   * `complete`: the whole answer arrived · `left`: the client gave up · `refused`: by a cap · `limited`: by a rate limit · `error`: an
   * error, whole or as the last event · `broken`: the connection did.
   */
  end: 'complete' | 'left' | 'refused' | 'limited' | 'error' | 'broken';
  /** HTTP status, where a head came, and the request id with it. */
  status: number | undefined;
  requestId: string | undefined;
  /** The stored answer of an earlier one. */
  isReplay: boolean;
  /** Of the gateway. */
  code: string | undefined;
}

export interface ClientsOptions {
  /** At least so many … */
  readonly requests: number;
  readonly concurrency: number;
  readonly seed: number;
}

/** Ids that are also their providers' names for them; between them they are bought in each of the four dialects. */
export const MODELS = ['gpt-4.1-nano', 'gpt-4o-mini', 'gpt-5-codex', 'claude-haiku-4-5', 'gemini-3.1-flash-lite'] as const;
const REASONING_MODELS: ReadonlySet<string> = new Set(['gpt-5-codex', 'claude-haiku-4-5', 'gemini-3.1-flash-lite']);
/** By their shares. */
const DIALECTS: readonly DialectName[] = ['openai-chat', 'openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'];
const KINDS = ['plain', 'plain', 'plain', 'plain', 'tool', 'reasoning', 'long'] as const;
const KEYED_SHARE = 0.25;
const LEFT_SHARE = 0.02;
/** Of those with an idempotency key: they ask again while the first is still served. */
const IMPATIENT_SHARE = 0.2;
const MOST_PATIENCE_MS = 400;
/** Of all: they are under way when their node dies. */
const SLOW_SHARE = 0.4;
const MOST_DELAY_MS = 1_000;
/** Of answers that came with an idempotency key: asked for again all the same. */
const ECHO_SHARE = 0.4;
const MOST_ECHO_MS = 800;
/** Longer than a control plane that stands still is waited for, shorter than a node that does. */
const CLIENT_TIMEOUT_MS = 8_000;
const PAUSE_AFTER_ERROR_MS = 500;
/** A request that died with its node gives up its key after 15 s. */
const ASK_AGAIN_FOR_MS = 25_000;
const WRONG_PLACES = 40;

export class Clients {
  readonly sent: Sent[] = [];
  /** Answers to the same request that are unlike each other. */
  readonly unlike: string[] = [];
  readonly #arena: Arena;
  readonly #customers: Customers;
  readonly #options: ClientsOptions;
  /** … and more for as long as this holds. */
  readonly #goOn: () => boolean;
  #started = 0;
  #finished = 0;
  #stopped = false;

  constructor(arena: Arena, customers: Customers, options: ClientsOptions, goOn: () => boolean) {
    this.#arena = arena;
    this.#customers = customers;
    this.#options = options;
    this.#goOn = goOn;
  }

  /** Requests, however often they were asked. */
  get finished(): number {
    return this.#finished;
  }

  /** Waits until every key works in every region. */
  async prepare(): Promise<void> {
    for (const { key } of this.#customers.keys) {
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
      const request = this.#next(`t${this.#options.seed}-${this.#started++}`, random);
      const patienceMs = (share: number): number | undefined => (random() < share ? random() * MOST_PATIENCE_MS : undefined);
      if (random() < KEYED_SHARE) {
        const keyed = { ...request, idempotencyKey: randomUUID(), patienceMs: patienceMs(IMPATIENT_SHARE) };
        await this.#askOnce(keyed, random() < ECHO_SHARE ? random() * MOST_ECHO_MS : undefined);
      } else await this.#ask({ ...request, patienceMs: patienceMs(LEFT_SHARE) });
      this.#finished++;
    }
  }

  #next(ref: string, random: () => number): Request {
    const model = pick(MODELS, random());
    const wanted = pick(KINDS, random());
    const kind = wanted === 'reasoning' && !REASONING_MODELS.has(model) ? 'plain' : wanted;
    const tokens = 2 + Math.floor(random() * 30);
    const paceMs = random() < 0.2 ? 20 : 0;
    const delayMs = random() < SLOW_SHARE ? Math.round(random() * MOST_DELAY_MS) : 0;
    const cache = kind === 'long' ? pick(['', ';cache', ';cache=write'], random()) : '';
    const knobs = `tokens=${tokens};pace_ms=${paceMs};delay_ms=${delayMs}${cache}`;
    const tool = kind === 'tool' ? 'Lookup, please: ' : '';
    return {
      ref,
      key: pick(this.#customers.keys, random()),
      region: pick(REGIONS, random()),
      dialect: pick(DIALECTS, random()),
      question: {
        model,
        kind,
        text: `${tool}say something. [[ref ${ref}]] [[sim ${knobs}]]`,
        stream: random() < 0.45,
        maxTokens: kind === 'reasoning' ? 256 : pick([64, 128, 256], random()),
      },
      patienceMs: undefined,
      idempotencyKey: undefined,
    };
  }

  /** One request, and what its end asks of its customer. */
  async #ask(request: Request): Promise<Seen> {
    const seen = await this.#send(request);
    const { sent, scope } = seen;
    this.sent.push(sent);
    if (sent.end === 'refused' && scope !== undefined) await this.#customers.raise(request.key, scope);
    else if (sent.end !== 'complete' && sent.end !== 'left') await pause(PAUSE_AFTER_ERROR_MS);
    return seen;
  }

  /** Once more after a while, where it is an echo. */
  async #askOnce(request: Request, echoAfterMs: number | undefined): Promise<void> {
    const answers = await this.#askUntilAnswered(request);
    if (echoAfterMs !== undefined && !this.#stopped) {
      await pause(echoAfterMs);
      answers.push(...(await this.#askUntilAnswered({ ...request, patienceMs: undefined })));
    }
    this.#compare(answers);
  }

  /** The same request with the same key again, until it is answered or it is no use. */
  async #askUntilAnswered(request: Request): Promise<Seen[]> {
    const endMs = Date.now() + ASK_AGAIN_FOR_MS;
    const answers: Seen[] = [];
    for (let attempt = 0; Date.now() < endMs; attempt++) {
      const seen = await this.#ask(attempt === 0 ? request : { ...request, patienceMs: undefined });
      answers.push(seen);
      // A rate limit lasts longer than that.
      if (seen.sent.end === 'complete' || seen.sent.end === 'limited' || hasReceipt(seen)) break;
    }
    return answers;
  }

  /** Whoever has seen an answer gets the same again, from its first byte. */
  #compare(answers: readonly Seen[]): void {
    for (const [later, seen] of answers.entries()) {
      if (!seen.sent.isReplay || seen.sent.end !== 'complete') continue;
      for (const before of answers.slice(0, later)) {
        if (before.sent.requestId !== seen.sent.requestId || before.sent.status !== 200) continue;
        const isSame = before.isClosed && seen.isClosed ? before.body === seen.body : startsAlike(before.body, seen.body);
        if (isSame) continue;
        this.unlike.push(`${seen.sent.requestId} (${seen.sent.ref}, ${seen.sent.dialect}) ${differenceOf(before.body, seen.body)}`);
      }
    }
  }

  async #send({ ref, key, region, dialect, question, patienceMs, idempotencyKey }: Request): Promise<Seen> {
    const { path, headers, body } = callOf(dialect, question, key.key);
    const { model, stream } = question;
    const sent: Sent = {
      ...{ ref, keyId: key.id, region, dialect, model, stream, idempotencyKey, startMs: Date.now(), endMs: 0 },
      ...{ end: 'broken', status: undefined, requestId: undefined, isReplay: false, code: undefined },
    };
    const seen: Seen = { sent, body: '', isClosed: false, scope: undefined };
    const signal = AbortSignal.timeout(Math.ceil(patienceMs ?? CLIENT_TIMEOUT_MS));
    try {
      const response = await fetch(this.#arena.clientUrl(region) + path, {
        method: 'POST',
        signal,
        headers: { ...headers, ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }) },
        body,
      });
      sent.status = response.status;
      sent.requestId = response.headers.get('x-request-id') ?? undefined;
      sent.isReplay = response.headers.get('x-meridian-replay') === 'true';
      const decoder = new TextDecoder();
      for await (const bytes of response.body ?? []) {
        seen.body += decoder.decode(bytes, { stream: true });
      }
      seen.isClosed = true;
      if (!response.ok) readError(seen);
      else if (stream) sent.end = ENDS[endingOf(dialect, seen.body)];
      else sent.end = 'complete';
    } catch {
      // A stream that has come to its last event is whole, however its connection ends.
      const isWhole = stream && sent.status === 200 && endingOf(dialect, seen.body) === 'whole';
      sent.end = isWhole ? 'complete' : signal.aborted ? 'left' : 'broken';
    }
    sent.endMs = Date.now();
    return seen;
  }
}

interface Request {
  readonly ref: string;
  readonly key: CustomerKey;
  readonly region: RegionName;
  readonly dialect: DialectName;
  readonly question: Question;
  /** How long it waits for the end of its answer, where that is not as long as any client. */
  readonly patienceMs: number | undefined;
  readonly idempotencyKey: string | undefined;
}

interface Seen {
  readonly sent: Sent;
  body: string;
  /** By the gateway, in order. */
  isClosed: boolean;
  /** Of the cap that was in the way. */
  scope: CapScope | undefined;
}

const ENDS = { whole: 'complete', error: 'error', cut: 'broken' } as const;

/** Each dialect has its own shape of errors, and the same words in it. */
function readError(seen: Seen): void {
  const { sent, body } = seen;
  sent.code = (/"(?:code|reason)":"([A-Za-z_]+)"/.exec(body)?.[1] ?? '').toLowerCase();
  seen.scope = /"scope":"(account|member|key)"/.exec(body)?.[1] as CapScope | undefined;
  sent.end = sent.status === 402 ? 'refused' : sent.status === 429 ? 'limited' : 'error';
}

/** It was served, and asking again changes nothing: its answer is not kept. */
function hasReceipt({ sent, body }: Seen): boolean {
  return sent.status === 409 && body.includes('/v1/usage/requests/');
}

/** One of them may have been cut off. */
function startsAlike(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one);
}

function differenceOf(before: string, after: string): string {
  let at = 0;
  while (at < before.length && before[at] === after[at]) at++;
  const from = Math.max(0, at - WRONG_PLACES);
  return `differs at ${at}: ${JSON.stringify(before.slice(from, at + WRONG_PLACES))} and ${JSON.stringify(after.slice(from, at + WRONG_PLACES))}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
