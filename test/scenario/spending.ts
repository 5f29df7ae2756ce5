/** Concurrent clients in both regions on one key with a daily cap, and what they saw when. */
import { textField } from '@meridian/local/operator';
import { keyWorks } from '@meridian/local/provision';
import OpenAI from 'openai';
import { pick, seededRandom } from '../random.ts';
import { REGIONS, until, type World } from '../world/world.ts';

export interface Shape {
  readonly model: string;
  /** Tokens that the provider generates. */
  readonly tokens: number;
  /** Undefined: the client gives no limit. */
  readonly maxTokens: number | undefined;
}

/** One request from the client's side; times in milliseconds of the test's own clock. */
export interface Spent {
  readonly shape: Shape;
  /** What the gateway said it costs at most. */
  readonly maxCostNano: number;
  readonly startedMs: number;
  endedMs: number;
  /** HTTP status; 200 for a whole answer, 0 for a broken connection. */
  status: number;
  code: string | undefined;
  /** What a 402 says is left and required. */
  leftUsd: number | undefined;
  costNano: number;
}

export interface Spending {
  readonly spent: readonly Spent[];
  /** Charged when the first 402 came, by the answers until then. */
  readonly beforeFirstRefusalNano: number | undefined;
}

export interface SpendingOptions {
  readonly keyText: string;
  readonly clients: number;
  readonly shapes: readonly Shape[];
  readonly seed: number;
  /** A client gives up after so many refusals in a row. */
  readonly refusals: number;
  /** A 503 is no refusal: nobody could say, so the client asks again, as the SDKs do. False when absent. */
  readonly asksAgain?: boolean;
  readonly withinMs: number;
  /** After each answer, with what was charged so far. */
  readonly onSpent?: (totalNano: number) => void;
}

/** A key with a daily cap, known to the nodes of both regions. */
export async function cappedKey(world: World, name: string, dailyUsd: number): Promise<{ id: string; key: string }> {
  const made = await world.account.post('/v1/keys', { name, caps: { daily_usd: dailyUsd } });
  const key = textField(made, 'key');
  for (const region of REGIONS) await until(() => keyWorks(world.url(region), key), `the key to work in ${region}`);
  return { id: textField(made, 'id'), key };
}

/** Spends until every client was refused several times in a row, or the time is over. */
export async function spend(world: World, options: SpendingOptions): Promise<Spending> {
  const spent: Spent[] = [];
  const maxCosts = new Map<Shape, number>();
  for (const shape of options.shapes) maxCosts.set(shape, await quotedNano(world, options.keyText, shape));
  let totalNano = 0;
  let beforeFirstRefusalNano: number | undefined;
  const endMs = performance.now() + options.withinMs;
  const work = async (worker: number): Promise<void> => {
    const random = seededRandom(options.seed * 1_000 + worker);
    const client = new OpenAI({
      baseURL: `${world.url(pick(REGIONS, (worker % REGIONS.length) / REGIONS.length))}/v1`,
      apiKey: options.keyText,
      maxRetries: 0,
      timeout: 30_000,
    });
    let refusals = 0;
    while (refusals < options.refusals && performance.now() < endMs) {
      const shape = pick(options.shapes, random());
      const one: Spent = {
        shape,
        maxCostNano: maxCosts.get(shape) ?? 0,
        startedMs: performance.now(),
        endedMs: 0,
        status: 0,
        code: undefined,
        leftUsd: undefined,
        costNano: 0,
      };
      await ask(client, one);
      one.endedMs = performance.now();
      spent.push(one);
      totalNano += one.costNano;
      if (one.status === 200) refusals = 0;
      else if (one.status !== 503 || options.asksAgain !== true) refusals++;
      if (one.status === 402) beforeFirstRefusalNano ??= totalNano;
      if (one.status === 200) options.onSpent?.(totalNano);
      else if (one.status !== 402) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  await Promise.all(Array.from({ length: options.clients }, (_, worker) => work(worker)));
  return { spent, beforeFirstRefusalNano };
}

async function ask(client: OpenAI, one: Spent): Promise<void> {
  try {
    const answer = await client.chat.completions.create(requestOf(one.shape));
    one.status = 200;
    one.costNano = Math.round(((answer.usage as { cost_usd?: number } | undefined)?.cost_usd ?? 0) * 1e9);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError) || error.status === undefined) return;
    one.status = error.status;
    one.code = error.code ?? undefined;
    const left = (error.error as { left_usd?: unknown } | undefined)?.left_usd;
    if (left !== undefined) one.leftUsd = Number(left);
  }
}

function requestOf(shape: Shape) {
  return {
    model: shape.model,
    messages: [{ role: 'user' as const, content: `Go on. [[sim tokens=${shape.tokens}]]` }],
    ...(shape.maxTokens === undefined ? {} : { max_tokens: shape.maxTokens }),
  };
}

/** What the gateway says the request costs at most. Throws when it does not. */
export async function quotedNano(world: World, key: string, shape: Shape): Promise<number> {
  const response = await fetch(`${world.url('us')}/v1/quote`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify(requestOf(shape)),
  });
  const quote = (await response.json()) as { max_cost_nano?: unknown };
  const nano = Number(quote.max_cost_nano);
  if (!Number.isSafeInteger(nano)) throw new Error(`no max_cost_nano in the quote: ${JSON.stringify(quote).slice(0, 300)}`);
  return nano;
}

/** How long before it was answered a denial may have been decided: it is remembered for a second, and travels. */
const DENIAL_AGE_MS = 1_500;

/**
 * Refusals that were false: at no moment from a denial's age before the answer until the answer did what was settled and
 * reserved, together with this request, pass the limit. A request counts as reserved from when it was sent until it was
 * answered, if it was admitted, which is a little longer than it was; so what is found is surely false.
 */
export function falseRefusals(spent: readonly Spent[], limitNano: number): readonly Spent[] {
  const admitted = spent.filter((one) => one.status === 200);
  return spent.filter((refused) => {
    if (refused.status !== 402) return false;
    const fromMs = Math.min(refused.startedMs, refused.endedMs) - DENIAL_AGE_MS;
    const moments = [fromMs, refused.endedMs];
    for (const one of admitted) {
      if (one.startedMs >= fromMs && one.startedMs <= refused.endedMs) moments.push(one.startedMs);
      if (one.endedMs >= fromMs && one.endedMs <= refused.endedMs) moments.push(one.endedMs);
    }
    return moments.every((atMs) => takenNano(admitted, atMs) + refused.maxCostNano <= limitNano);
  });
}

function takenNano(admitted: readonly Spent[], atMs: number): number {
  let sum = 0;
  for (const one of admitted) {
    if (one.endedMs <= atMs) sum += one.costNano;
    else if (one.startedMs <= atMs) sum += one.maxCostNano;
  }
  return sum;
}
