/** `POST /v1/quote`: what a request would cost at most, and whether it would be admitted now. Nobody is called and nothing is written. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { nanoToUsd } from '@meridian/domain/money';
import type { Verdict } from '../admission/admit.ts';
import { JsonKeyError, JsonSyntaxError, scanObject } from '../dialect/json-scanner.ts';
import type { Exchange, Reply } from '../exchange.ts';
import { admission, type Rooms } from '../pipeline.ts';

export interface Quote {
  readonly object: 'quote';
  readonly model: string;
  readonly max_cost_usd: string;
  readonly max_cost_nano: string;
  /** Upper bound of the input in tokens, as it is reserved. */
  readonly input_tokens_bound: number;
  /** The output limit of each choice, as it is reserved; 0 for embeddings. */
  readonly max_output_tokens: number;
  readonly admitted: boolean;
  /** The fields of the error that the request would get; absent where it would be admitted. */
  readonly reason?: Readonly<Record<string, unknown>>;
}

/** Fields by which a body tells what it asks for. */
const BODY_FIELDS: ReadonlySet<string> = new Set(['messages', 'input']);

/** `?operation=` where it is given, else by the body: `input` without `messages` is for embeddings. Throws GatewayError 400. */
export function quotedOperation(query: unknown, body: Buffer): Operation {
  if (query !== undefined) {
    if (query === 'chat' || query === 'embeddings') return query;
    throw new GatewayError('invalid_request_error', {
      message: "The parameter 'operation' must be chat or embeddings.",
      param: 'operation',
    });
  }
  try {
    const fields = scanObject(body, BODY_FIELDS);
    return fields.has('input') && !fields.has('messages') ? 'embeddings' : 'chat';
  } catch (error) {
    // The dialect says what is wrong with a body that cannot be read.
    if (error instanceof JsonSyntaxError || error instanceof JsonKeyError) return 'chat';
    throw error;
  }
}

export type QuoteRooms = Pick<Rooms, 'plan' | 'entitle' | 'admit' | 'release'>;

/**
 * Admits the request as if it were to be served, and gives back at once what was set aside. Rejects with the errors that
 * the request itself would get, except where its budgets refuse it or cannot be checked (402, 429, 503 `budget_unavailable`):
 * those are the answer.
 */
export async function quote(rooms: QuoteRooms, exchange: Exchange, reply: Pick<Reply, 'onGone'>): Promise<Quote> {
  const { facts } = exchange.dialect.readPassThrough(exchange.operation, exchange.body, exchange.place);
  const plan = rooms.plan(facts, exchange.principal, exchange.arrivedMs);
  rooms.entitle(exchange, facts, plan);
  const verdict = await admission(rooms, exchange, facts, plan, reply);
  if (verdict.kind === 'admitted') rooms.release(verdict);
  // What it would cost is known also where nobody can say what is left.
  else if (verdict.error.status >= 500 && verdict.error.code !== 'budget_unavailable') throw verdict.error;
  return quoteOf(plan.model.id, verdict);
}

function quoteOf(model: string, verdict: Verdict): Quote {
  const { terms } = verdict;
  const bounds = {
    object: 'quote',
    model,
    max_cost_usd: nanoToUsd(terms.maxCostNano),
    max_cost_nano: terms.maxCostNano.toString(),
    input_tokens_bound: terms.demand.inputTokens,
    max_output_tokens: terms.maxOutputTokens,
  } as const;
  if (verdict.kind === 'admitted') return { ...bounds, admitted: true };
  const { code, status, message, details } = verdict.error;
  return { ...bounds, admitted: false, reason: { code, status, message, ...details } };
}
