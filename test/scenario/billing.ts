/** One request from three sides: what its client saw, what its provider served, how it was billed. */
import { sql } from 'kysely';
import type { JournalLine } from '../upstream/src/journal.ts';
import { type RegionName, until, type World } from '../world/world.ts';

export interface Ask {
  /** Of a request that was sent before: the same body again. */
  readonly ref?: string;
  readonly idempotencyKey?: string;
  readonly region?: RegionName;
  readonly model?: string;
  readonly stream?: boolean;
  /** Knobs of the simulated provider. */
  readonly sim?: string;
  /** So many messages of 35,000 characters come before the one that asks. */
  readonly longMessages?: number;
  readonly maxTokens?: number;
  /** Where the client leaves: after so many events with content, or when the provider has the call. */
  readonly leave?: { readonly afterContent: number } | 'when asked';
  /** Called when the provider has the call, and the client the first content of a stream. */
  readonly onBegun?: () => void;
}

/** What the client saw. */
export interface Seen {
  /** Found again in the provider's journal. */
  readonly ref: string;
  /** 0 when no head came. */
  status: number;
  headers: Headers;
  body: string;
  /** `left`: the client closed · `broken`: the connection did. */
  end: 'complete' | 'left' | 'broken';
}

/** How it was billed; amounts in nano-USD. */
export interface Billed {
  readonly outcome: string;
  readonly exactness: string;
  readonly chargeNano: bigint;
  readonly maxCostNano: bigint;
  readonly status: number;
  readonly errorCode: string | null;
  readonly units: Readonly<Record<string, number>>;
  readonly attempts: readonly { readonly status: number; readonly error_code: string | null }[];
  /** What the provider costs us: for operators only, so not on the receipt. */
  readonly costNano: bigint;
}

let asked = 0;

/** Sends a chat request and reads the answer to its end, or leaves. */
export async function ask(world: World, options: Ask): Promise<Seen> {
  const { region = 'us', model = 'gpt-4.1-mini', stream = false, sim = '', longMessages = 0, leave } = options;
  const ref = options.ref ?? `bill-${process.pid}-${++asked}`;
  const seen: Seen = { ref, status: 0, headers: new Headers(), body: '', end: 'complete' };
  const controller = new AbortController();
  if (leave === 'when asked' || (options.onBegun !== undefined && !stream)) {
    void until(async () => (await openCalls(world)).includes(ref), `the provider to have ${ref}`).finally(() => {
      options.onBegun?.();
      if (leave === 'when asked') controller.abort();
    });
  }
  try {
    const response = await fetch(`${world.url(region)}/v1/chat/completions`, {
      method: 'POST',
      signal: controller.signal,
      headers: {
        authorization: `Bearer ${world.apiKey}`,
        'content-type': 'application/json',
        ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
      },
      body: JSON.stringify({
        model,
        max_tokens: options.maxTokens ?? 1_000,
        messages: [
          ...Array.from({ length: longMessages }, () => ({ role: 'user', content: 'at length '.repeat(3_500) })),
          { role: 'user', content: `Tell me something. [[ref ${ref}]]${sim === '' ? '' : ` [[sim ${sim}]]`}` },
        ],
        ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
      }),
    });
    seen.status = response.status;
    seen.headers = response.headers;
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      seen.body += decoder.decode(bytes, { stream: true });
      if (contentOf(seen).length > 0) options.onBegun?.();
      if (typeof leave === 'object' && contentOf(seen).length >= leave.afterContent) controller.abort();
    }
  } catch {
    seen.end = controller.signal.aborted ? 'left' : 'broken';
  }
  return seen;
}

async function openCalls(world: World): Promise<readonly string[]> {
  const response = await fetch(`${world.upstreamUrl}/__sim/health`);
  return ((await response.json()) as { markers: string[] }).markers;
}

/** The whole data of a stream's events, `[DONE]` left out. */
export function eventsOf({ body }: Seen): Readonly<Record<string, unknown>>[] {
  return body
    .split('\n\n')
    .slice(0, -1)
    .filter((event) => event.startsWith('data: {'))
    .map((event) => JSON.parse(event.slice('data: '.length)));
}

/** The pieces of text that a stream has brought. */
export function contentOf(seen: Seen): string[] {
  return eventsOf(seen).flatMap(({ choices }) => {
    const [choice] = (choices ?? []) as { delta?: { content?: string | null } }[];
    const content = choice?.delta?.content;
    return content === undefined || content === null || content === '' ? [] : [content];
  });
}

export function isDone({ body }: Seen): boolean {
  return body.endsWith('data: [DONE]\n\n');
}

/** The code of the error that the client was told, as an answer or as the last event of a stream. */
export function errorOf(seen: Seen): string | undefined {
  const told = seen.status === 200 ? eventsOf(seen).at(-1) : (JSON.parse(seen.body) as Readonly<Record<string, unknown>>);
  return (told?.error as { code?: string } | undefined)?.code;
}

/** What the answer says it costs, in USD; undefined where it does not say. */
export function toldUsd(seen: Seen, stream: boolean): number | undefined {
  const holders = stream ? eventsOf(seen) : [JSON.parse(seen.body) as Readonly<Record<string, unknown>>];
  return holders.map(({ usage }) => (usage as { cost_usd?: number } | undefined)?.cost_usd).findLast((cost) => cost !== undefined);
}

/** The provider's lines of this request, once it has ended with each; every call has one. */
export async function servedBy(world: World, { ref }: Seen, calls = 1): Promise<JournalLine[]> {
  let lines: JournalLine[] = [];
  await until(async () => {
    lines = (await world.journal()).filter((line) => line.client_marker === ref);
    return lines.length >= calls;
  }, `${calls} calls of ${ref} in the journal`);
  return lines;
}

/** The line of a request that reached a provider once. */
export async function servedOnce(world: World, seen: Seen): Promise<JournalLine & { readonly request_id: string }> {
  const lines = await servedBy(world, seen);
  const [line] = lines;
  if (lines.length !== 1 || line === undefined) throw new Error(`${seen.ref} reached a provider ${lines.length} times`);
  const { request_id } = line;
  if (request_id === null) throw new Error(`the call of ${seen.ref} has no request id`);
  return { ...line, request_id };
}

/** The receipt, once its usage has arrived. */
export async function billed(world: World, requestId: string): Promise<Billed> {
  let receipt: Readonly<Record<string, unknown>> = {};
  await until(
    async () => {
      receipt = await world.account.get(`/v1/usage/requests/${requestId}`);
      return true;
    },
    `the receipt of ${requestId}`,
    30_000,
  );
  const { rows } = await sql<{ cost_nano: bigint }>`SELECT cost_nano FROM usage_event WHERE request_id = ${requestId}`.execute(
    world.database.db,
  );
  return {
    outcome: String(receipt.outcome),
    exactness: String(receipt.exactness),
    chargeNano: BigInt(String(receipt.cost_nano)),
    maxCostNano: BigInt(String(receipt.max_cost_nano)),
    status: Number(receipt.status),
    errorCode: receipt.error_code as string | null,
    units: receipt.units as Readonly<Record<string, number>>,
    attempts: receipt.attempts as Billed['attempts'],
    costNano: BigInt(rows[0]?.cost_nano ?? -1n),
  };
}
