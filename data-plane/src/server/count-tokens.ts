/**
 * Counting a request's tokens before it is sent, as some dialects offer it: asked of the provider where it speaks the client's dialect,
 * else counted here, which is an estimate and says so. Nothing is generated, so nothing is reserved or charged.
 */
import { GatewayError } from '@meridian/domain/error';
import type { TokenCounts } from '../admission/token-counter.ts';
import { encodingOf } from '../admission/tokenizers.ts';
import { type PromptSize, promptSize } from '../canonical/prompt-size.ts';
import type { PassThroughRequest } from '../dialect/dialect.ts';
import type { Exchange } from '../exchange.ts';
import type { Rooms } from '../pipeline.ts';
import { type CountRooms, countUpstream } from '../routing/count.ts';
import type { Plan } from '../routing/plan.ts';
import type { HttpReply } from './reply.ts';

export interface CountTokensRooms extends Pick<Rooms, 'plan' | 'entitle'>, CountRooms {
  readonly counter: TokenCounts;
}

/** Text of any language has about so many bytes a token. */
const BYTES_PER_TOKEN = 4;
const ESTIMATED: readonly string[] = ['x-meridian-estimated', 'true'];
/** Longer bodies are told by their bytes: they are not worth a tokenizer's time for a figure that is free. */
const MAX_COUNTED_BODY_BYTES = 256 * 1024;

/** Rejects with the errors that the request itself would get from its dialect, the plan and the rate limits. */
export async function countTokens(rooms: CountTokensRooms, exchange: Exchange, reply: HttpReply): Promise<void> {
  const { dialect, body, place } = exchange;
  const { counting } = dialect;
  if (counting === undefined) throw new GatewayError('unsupported_endpoint');
  const request = counting.read(body, place);
  const plan = rooms.plan(request.facts, exchange.principal, exchange.arrivedMs);
  rooms.entitle(exchange, request.facts, plan);
  const candidate = plan.candidates.find(({ endpoint }) => endpoint.dialect === dialect.name);
  if (candidate !== undefined && plan.settings === undefined) {
    const job = { requestId: exchange.requestId, dialect, request, place, candidate };
    reply.jsonBytes(200, await countUpstream(rooms, job, (cancel) => reply.onGone(cancel)));
    return;
  }
  const tokens = await estimated(rooms.counter, exchange, request, plan);
  reply.json(200, counting.answer(tokens), ESTIMATED);
}

/** What the model reads, by its tokenizer where that is known, and by bytes for all else. */
function estimated(counter: TokenCounts, exchange: Exchange, request: PassThroughRequest, plan: Plan): Promise<number> {
  const { body } = exchange;
  const { texts, otherTokens } = sizeOf(exchange, request);
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const byBytes = Math.max(1, Math.ceil(bytes / BYTES_PER_TOKEN) + otherTokens);
  const encoding = body.length > MAX_COUNTED_BODY_BYTES ? undefined : encodingOf(plan.candidates.map(({ model }) => model));
  if (encoding === undefined) return Promise.resolve(byBytes);
  return new Promise((resolve) => {
    const waits = counter.count(encoding, texts, (tokens) => resolve(tokens === undefined ? byBytes : tokens + otherTokens));
    if (waits === undefined) resolve(byBytes);
  });
}

function sizeOf({ dialect, body, place }: Exchange, { facts }: PassThroughRequest): PromptSize {
  return promptSize(dialect.decodeRequest(dialect.counting?.requestIn?.(body) ?? body, place, facts));
}
