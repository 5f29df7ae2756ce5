/**
 * A request through the data plane, top to bottom. Each step may throw a GatewayError; whatever happens after the intent
 * was written, a final is written, and it is written before the terminal bytes go to the client.
 *
 *   read → plan → entitle → admit → open (INTENT) → attempt → settle (FINAL) → finish
 *
 * Routes and authentication come before (the body is not read for a key that is refused).
 */
import { GatewayError } from '@meridian/domain/error';
import { estimatedInputTokens } from '@meridian/domain/estimated-usage';
import { isAboveUnchargedCeiling } from '@meridian/domain/uncharged-ceiling';
import { inputTokens, outputTokens } from '@meridian/domain/usage';
import type { Final, Intent } from '@meridian/domain/usage-record';
import type { Admitted, Verdict } from './admission/admit.ts';
import type { Principal } from './admission/authenticate.ts';
import type { FoundMedium } from './canonical/media-urls.ts';
import type { AnswerFacts, PassThroughRequest, RequestFacts } from './dialect/dialect.ts';
import type { Exchange, Once, Reply } from './exchange.ts';
import type { Ending } from './metering/settle.ts';
import type { AttemptEnd, AttemptJob, RunningAttempt, Trace } from './routing/attempt.ts';
import { Delivery, type Timers } from './routing/commit.ts';
import { type DialectNamed, type Lanes, lanesTo } from './routing/lanes.ts';
import type { Plan } from './routing/plan.ts';

export interface Rooms {
  readonly plan: (facts: RequestFacts, principal: Principal, nowMs: number) => Plan;
  /** Throws for what the plan of the account, or its rate limits for the model, do not allow. */
  readonly entitle: (exchange: Exchange, facts: RequestFacts, plan: Plan) => void;
  /**
   * Sets aside what the request can cost. `done` is called once, before this returns where the leases suffice; the function
   * returned gives up a wait. Throws for a request whose cost has no bound.
   */
  readonly admit: (exchange: Exchange, facts: RequestFacts, plan: Plan, done: (verdict: Verdict) => void) => () => void;
  /** Gives back what was set aside for a request that came to nothing: no intent of it was written. */
  readonly release: (admitted: Admitted) => void;
  /** Writes the INTENT; resolves when its write() has returned. */
  readonly open: (intent: Intent) => Promise<void>;
  readonly dialectNamed: DialectNamed;
  /** What stands at each address. Rejects with GatewayError 400 where one cannot be had, 503, or 499 once the client has left. */
  readonly fetchMedia: (
    exchange: Exchange,
    urls: readonly string[],
    reply: Pick<Reply, 'onGone'>,
  ) => Promise<ReadonlyMap<string, FoundMedium>>;
  readonly attempt: (job: AttemptJob) => RunningAttempt;
  /** Attempts that run, for whoever has to end them when the node stops. */
  readonly inFlight: Set<RunningAttempt>;
  /** Writes the FINAL and replaces the reservation by what is charged; resolves when the write() has returned. Never rejects. */
  readonly settle: (intent: Intent, admitted: Admitted, facts: RequestFacts, ending: Ending) => Promise<Final>;
  /** What to do with an upstream whose client has left. */
  readonly leftBehind: (running: RunningAttempt, plan: Plan, facts: RequestFacts) => void;
  readonly costLiteral: (final: Final) => string;
  readonly timers: Timers;
  readonly nowMs: () => number;
}

/** Serves one request. Never rejects: every failure has become an answer. */
export async function handle(rooms: Rooms, exchange: Exchange, reply: Reply): Promise<void> {
  const { dialect, principal } = exchange;
  let request: PassThroughRequest;
  let plan: Plan;
  let lanes: Lanes;
  let admitted: Admitted | undefined;
  let intent: Intent;
  try {
    request = dialect.readPassThrough(exchange.operation, exchange.body, exchange.place);
    plan = rooms.plan(request.facts, principal, exchange.arrivedMs);
    rooms.entitle(exchange, request.facts, plan);
    lanes = lanesOf(rooms, exchange, request, plan);
    const verdict = admission(rooms, exchange, request.facts, plan, reply);
    admitted = admittedBy(verdict instanceof Promise ? await verdict : verdict);
    if (lanes.unfetched.length > 0) lanes.found(await rooms.fetchMedia(exchange, lanes.unfetched, reply));
    intent = intentOf(exchange, request.facts, plan, admitted, rooms.nowMs());
    await rooms.open(intent);
  } catch (thrown) {
    if (admitted !== undefined) rooms.release(admitted);
    reply.fail(GatewayError.from(thrown));
    return;
  }

  const { facts } = request;
  if (reply.gone) {
    // Nobody waits any more, so no provider is called.
    await rooms.settle(
      intent,
      admitted,
      facts,
      endingOf({ kind: 'abandoned', served: undefined }, [], facts, exchange, reply, rooms.nowMs()),
    );
    return;
  }
  const delivery = facts.stream ? new Delivery(reply, rooms.timers) : undefined;
  const model = echoedModel(facts, plan);
  const estimated = { estimatedInputTokens: estimatedInputTokens(facts.inputTokensBound) };
  const running = rooms.attempt({
    requestId: exchange.requestId,
    facts,
    laneTo: lanes.to,
    candidates: plan.candidates,
    maxOutputTokens: admitted.terms.addedLimit,
    model,
    streamTerms: facts.stream ? { wantsStreamUsage: facts.wantsStreamUsage, model, ...estimated } : undefined,
    delivery,
  });
  reply.onGone(() => {
    delivery?.clientGone();
    rooms.leftBehind(running, plan, facts);
  });
  rooms.inFlight.add(running);
  let end = await running.done;
  rooms.inFlight.delete(running);
  if (reply.once !== undefined) end = await onlyOnce(reply.once, end);

  const final = await rooms.settle(intent, admitted, facts, endingOf(end, running.traces, facts, exchange, reply, rooms.nowMs()));
  reply.once?.settled(final);
  exchange.permit?.used(inputTokens(final.usage) + outputTokens(final.usage));
  const costUsdLiteral = rooms.costLiteral(final);
  switch (end.kind) {
    case 'answer': {
      const { body, losses } = end.answer.rewrite({ model, costUsdLiteral, ...estimated });
      reply.answer(
        {
          providerId: end.served.candidate.provider.id,
          attempts: running.traces.length,
          actualModel: end.answer.facts.model ?? end.served.candidate.model.id,
          costUsdLiteral,
          losses: [...end.served.losses, ...losses],
        },
        body,
      );
      return;
    }
    case 'stream':
      delivery?.finish(end.stream.terminal(costUsdLiteral));
      return;
    case 'failed':
      if (delivery === undefined || delivery.state === 'held') {
        delivery?.dispose();
        reply.fail(end.error);
      } else {
        delivery.breakOff(end.error);
      }
      return;
    case 'cut':
      delivery?.breakOff(end.error);
      return;
    case 'abandoned':
      delivery?.dispose();
      return;
    default:
      end satisfies never;
  }
}

function lanesOf(rooms: Pick<Rooms, 'dialectNamed' | 'nowMs'>, exchange: Exchange, passThrough: PassThroughRequest, plan: Plan): Lanes {
  const { requestId, arrivedMs } = exchange;
  return lanesTo({ ...exchange, passThrough }, plan, rooms.dialectNamed, {
    requestId,
    createdSeconds: Math.floor(arrivedMs / 1000),
    nowSeconds: () => Math.floor(rooms.nowMs() / 1000),
    estimatedInputTokens: estimatedInputTokens(passThrough.facts.inputTokensBound),
  });
}

/** A request whose place a retry has taken comes to nothing: the retry is the one that is charged. */
async function onlyOnce(once: Once, end: AttemptEnd): Promise<AttemptEnd> {
  if (end.kind === 'failed' || (await once.settling())) return end;
  return { kind: 'failed', error: new GatewayError('conflict', { message: 'A retry with the same Idempotency-Key has taken over.' }) };
}

/** Where the leases suffice the verdict is there at once, and nothing is awaited. A client that leaves gives up its wait. */
export function admission(
  rooms: Pick<Rooms, 'admit'>,
  exchange: Exchange,
  facts: RequestFacts,
  plan: Plan,
  reply: Pick<Reply, 'onGone'>,
): Verdict | Promise<Verdict> {
  const waiting: { verdict?: Verdict; resolve?: (verdict: Verdict) => void } = {};
  const giveUp = rooms.admit(exchange, facts, plan, (verdict) => {
    waiting.verdict = verdict;
    waiting.resolve?.(verdict);
  });
  if (waiting.verdict !== undefined) return waiting.verdict;
  return new Promise((resolve, reject) => {
    waiting.resolve = resolve;
    reply.onGone(() => {
      // Once there is a verdict both are without effect.
      giveUp();
      reject(new GatewayError('client_closed_request'));
    });
  });
}

function admittedBy(verdict: Verdict): Admitted {
  if (verdict.kind === 'refused') throw verdict.error;
  return verdict;
}

function intentOf(exchange: Exchange, facts: RequestFacts, plan: Plan, admitted: Admitted, admittedAtMs: number): Intent {
  const { key, account, standing } = exchange.principal;
  return {
    requestId: exchange.requestId,
    admittedAtMs,
    accountId: account.id,
    memberId: key.memberId,
    keyId: key.id,
    operation: facts.operation,
    clientDialect: exchange.dialect.name,
    askedModel: facts.model,
    priceVersions: [{ modelId: plan.model.id, version: plan.listPrice.version }],
    tierId: standing.tier.id,
    markupBasisPoints: standing.tier.markupBasisPoints,
    maxCostNano: admitted.terms.maxCostNano,
    leases: admitted.reservation.leases.map(({ leaseId, amount }) => ({ leaseId, amount: BigInt(amount) })),
  };
}

/**
 * An alias, and a name that had to be replaced for the upstream, come back as the client wrote them; one that went through
 * unchanged stays the upstream's.
 */
function echoedModel(facts: RequestFacts, plan: Plan): string | undefined {
  if (plan.viaAlias === true) return facts.model;
  return plan.candidates.every((candidate) => candidate.endpoint.upstreamModel === facts.model) ? undefined : facts.model;
}

function endingOf(end: AttemptEnd, traces: readonly Trace[], facts: RequestFacts, exchange: Exchange, reply: Reply, nowMs: number): Ending {
  const error = end.kind === 'failed' || end.kind === 'cut' ? end.error : undefined;
  const served = end.kind === 'failed' ? undefined : end.served;
  const firstByteMs = traces.find((trace) => trace.firstByteMs !== undefined)?.firstByteMs ?? nowMs;
  return {
    outcome: outcomeOf(end, facts, reply.gone),
    emptyIsCharged: isAboveUnchargedCeiling(exchange.principal.account, exchange.arrivedMs),
    served,
    calls: traces,
    stream: facts.stream,
    status: error?.status ?? (end.kind === 'abandoned' ? new GatewayError('client_closed_request').status : 200),
    error,
    firstByteMs: Math.max(0, Math.round(firstByteMs - exchange.arrivedMs)),
    durationMs: Math.max(0, Math.round(nowMs - exchange.arrivedMs)),
  };
}

function outcomeOf(end: AttemptEnd, facts: RequestFacts, clientGone: boolean): Ending['outcome'] {
  switch (end.kind) {
    case 'failed':
      return 'failed';
    case 'abandoned':
      return generatedNothing(end.served?.facts) ? 'failed' : 'client_gone';
    case 'cut':
      return generatedNothing(end.served.facts) ? 'failed' : 'cut';
    case 'answer':
    case 'stream': {
      const { empty } = end.kind === 'answer' ? end.answer.facts : end.stream.facts;
      if (facts.operation === 'chat' && empty) return 'empty';
      return clientGone ? 'client_gone' : 'success';
    }
    default:
      return end satisfies never;
  }
}

/** Cut in the middle of a whole answer, or before a stream's first content: there is nothing to bill the client for. */
function generatedNothing(facts: AnswerFacts | undefined): boolean {
  return facts === undefined || facts.empty;
}
