/** Request + plan → what it may consume at most, and what that costs. Pure. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { type CostDemand, maxCost, outputTokensFor, outputTokensWithin } from '@meridian/domain/max-cost';
import type { Nano } from '@meridian/domain/money';
import type { ListPrice, ServiceTier } from '@meridian/domain/price';
import type { Meter, Usage } from '@meridian/domain/usage';

/** What is read of a request; satisfied by a dialect's facts. */
export interface Asked {
  readonly operation: Operation;
  readonly maxOutputTokens: number | undefined;
  readonly choices: number;
  readonly serviceTier: ServiceTier;
  readonly inputTokensBound: number;
  readonly readsBeyondBody: boolean;
  readonly unbounded: string | undefined;
  readonly takesOutputLimit: boolean;
  readonly images: number;
  readonly beyondText?: readonly { readonly meter: Meter; readonly atMost: number | undefined }[];
}

interface ModelLimits {
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
}

/** The ways the request can go; satisfied by a plan. */
export interface Ways {
  readonly listPrice: ListPrice;
  readonly candidates: readonly { readonly model: ModelLimits; readonly listPrice: ListPrice }[];
}

/** What the money leases of this node have left, for a request whose client set no limit. */
export type Room = () => { readonly free: number; readonly inFlight: number };

export interface Estimate {
  /** Bounds of all choices together, with the prices they are counted at. */
  readonly demand: CostDemand;
  readonly choices: number;
  /** What each choice may have at most; 0 for embeddings. */
  readonly maxOutputTokens: number;
  /** The limit to write into the request; undefined where the client gave one, or the model keeps it by itself. */
  readonly addedLimit: number | undefined;
  readonly markupBasisPoints: number;
  readonly maxCostNano: Nano;
}

/** A request without a limit gets at least so many output tokens, or what its model can do. */
const LEAST_OUTPUT_TOKENS = 4_096;

/** Some models begin every chat with an instruction of their vendor's, which is billed; the longest known has some 700 tokens. */
const PREAMBLE_TOKENS = 768;

/** What is taken for the context of a model whose context the catalogue does not know: the largest that is usual. */
const LARGEST_CONTEXT_TOKENS = 2_097_152;

/**
 * Bounds a request. A limit that the client gave stands; where there is none, it is the model's own, or less: what half
 * of the node's free amount buys, shared with the requests in flight, so that one request does not take all of a lease.
 * The input is bounded by its bytes, or as it was counted. Throws GatewayError 400 for a request that cannot be bounded
 * and has no limit.
 */
export function estimate(
  asked: Asked,
  ways: Ways,
  markupBasisPoints: number,
  room: Room,
  inputTokens: number = inputBound(asked, ways),
): Estimate {
  const { choices, serviceTier } = asked;
  if (asked.unbounded !== undefined && asked.maxOutputTokens === undefined) {
    throw new GatewayError('invalid_request_error', {
      message: `What '${asked.unbounded}' costs cannot be told from the request, so the request needs an output limit of its own.`,
      param: asked.unbounded,
    });
  }
  const pieces = piecesOf(asked);
  const input = { inputTokens, serviceTier, prices: pricesOf(ways), ...(pieces === undefined ? {} : { pieces }) };
  let maxOutputTokens = 0;
  let addedLimit: number | undefined;
  if (asked.maxOutputTokens !== undefined) maxOutputTokens = asked.maxOutputTokens;
  else if (asked.operation !== 'embeddings') {
    maxOutputTokens = ownLimitOf(ways);
    if (asked.takesOutputLimit && maxOutputTokens > LEAST_OUTPUT_TOKENS) {
      const { free, inFlight } = room();
      const bought = outputTokensFor(input, markupBasisPoints, BigInt(Math.floor(free / (2 * (inFlight + 1)))));
      const limit = Math.max(LEAST_OUTPUT_TOKENS, Math.floor(bought / choices));
      if (limit < maxOutputTokens) {
        maxOutputTokens = limit;
        addedLimit = limit;
      }
    }
  }
  const demand = { ...input, outputTokens: maxOutputTokens * choices };
  return { demand, choices, maxOutputTokens, addedLimit, markupBasisPoints, maxCostNano: maxCost(demand, markupBasisPoints) };
}

/** The highest output limit with which the request costs at most the amount; 0 where there is none. */
export function fittingLimit({ demand, choices, markupBasisPoints }: Estimate, amountNano: Nano): number {
  return Math.floor(outputTokensWithin(demand, markupBasisPoints, amountNano) / choices);
}

function inputBound(asked: Asked, ways: Ways): number {
  return asked.inputTokensBound + (asked.operation === 'chat' ? PREAMBLE_TOKENS : 0) + (asked.readsBeyondBody ? contextOf(ways) : 0);
}

/** What the request can use by the piece; undefined for most requests. A made picture may have its price by the piece. */
function piecesOf({ beyondText = [] }: Asked): Usage | undefined {
  let pieces: { [Name in Meter]?: number } | undefined;
  for (const { meter, atMost } of beyondText) {
    if (atMost === undefined) continue;
    pieces ??= {};
    const piece = meter === 'image_out' ? 'per_image' : meter;
    pieces[piece] = (pieces[piece] ?? 0) + atMost;
  }
  return pieces;
}

function pricesOf({ listPrice, candidates }: Ways): readonly ListPrice[] {
  if (candidates.every((candidate) => candidate.listPrice === listPrice)) return [listPrice];
  return [...new Set([listPrice, ...candidates.map((candidate) => candidate.listPrice)])];
}

function contextOf({ candidates }: Ways): number {
  let most = 0;
  for (const { model } of candidates) most = Math.max(most, model.contextTokens ?? LARGEST_CONTEXT_TOKENS);
  return most;
}

/** The most that any of the models puts out where nobody limits it: none writes more than its context holds. */
function ownLimitOf({ candidates }: Ways): number {
  let most = 0;
  for (const { model } of candidates) most = Math.max(most, model.maxOutputTokens ?? model.contextTokens ?? LARGEST_CONTEXT_TOKENS);
  return most;
}
