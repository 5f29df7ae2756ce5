/**
 * Clients, and the provider behind the nodes. A request goes the way of the pipeline: authenticate, admit, INTENT written,
 * provider, FINAL handed to the spool and the reservation settled in the same turn, FINAL written, last bytes.
 */
import { type Admitted, admit, type Verdict } from '@meridian/data-plane/admission/admit';
import { authenticate } from '@meridian/data-plane/admission/authenticate';
import type { BudgetAmount, Grants } from '@meridian/data-plane/admission/grants';
import { type Ending, settle } from '@meridian/data-plane/metering/settle';
import { DEFAULT_KEY_PREFIX } from '@meridian/domain/api-key';
import { GatewayError } from '@meridian/domain/error';
import { newId } from '@meridian/domain/ids';
import type { Model } from '@meridian/domain/model';
import type { ListPrice } from '@meridian/domain/price';
import { type Endpoint, priceInForce } from '@meridian/domain/snapshot';
import type { Intent } from '@meridian/domain/usage-record';
import type { Dice } from './dice.ts';
import type { Node } from './node.ts';
import type { Held, OnceStore } from './once.ts';
import type { Timeline } from './timeline.ts';
import type { Request, Truth } from './truth.ts';
import { Violation } from './violation.ts';
import { MODEL_ID, PEPPER } from './world-settings.ts';

export interface TrafficCounts {
  asked: number;
  served: number;
  exhausted: number;
  unavailable: number;
  otherwise: number;
  /** Were not served because another with their idempotency key was, or is. */
  repeated: number;
}

export interface TrafficDeps {
  readonly timeline: Timeline;
  readonly dice: Dice;
  readonly truth: Truth;
  /** Of idempotency keys. */
  readonly once: OnceStore;
  readonly spoolIdOf: (node: Node) => string;
  /** Keys that this machine has seen revoked. */
  readonly revokedAt: (machine: string) => ReadonlySet<string>;
  readonly judgesRefusals: () => boolean;
}

type Principal = ReturnType<typeof authenticate>;

/** Of all requests. */
const KEYED_SHARE = 0.3;
/** Requests of a key of ours draw their idempotency keys from these times: retries come as much later, past the lease of a claim, too. */
const SLOT_MS = 3_000;
const REMEMBERED_SLOTS = 8;

const MODEL: Model = {
  ...{ id: MODEL_ID, vendor: 'vendor', displayName: 'Model One', mode: 'chat', contextTokens: 200_000, maxOutputTokens: 3_000 },
  ...{ inputModalities: ['text'], outputModalities: ['text'], capabilities: [], hidesReasoning: false, enabled: true },
};

function endpointOf(listPrice: ListPrice): Endpoint {
  return {
    ...{ id: 'end_1', modelId: MODEL_ID, providerId: 'prv_1', credentialId: 'crd_1', upstreamModel: MODEL_ID },
    ...{ dialect: 'openai-chat', operations: ['chat'], regions: [], priority: 1, enabled: true },
    cost: { endpointId: 'end_1', version: 1, effectiveFromMs: 0, cards: listPrice.cards },
  };
}

export class Traffic {
  readonly counts: TrafficCounts = { asked: 0, served: 0, exhausted: 0, unavailable: 0, otherwise: 0, repeated: 0 };
  readonly #deps: TrafficDeps;

  constructor(deps: TrafficDeps) {
    this.#deps = deps;
  }

  /** A client asks a node with a key. */
  ask(node: Node, presented: string): void {
    this.counts.asked++;
    try {
      this.#ask(node, presented);
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      this.#refused(error);
    }
  }

  #ask(node: Node, presented: string): void {
    const { dice, timeline, revokedAt } = this.#deps;
    if (node.grants === undefined || node.spool === undefined) throw new GatewayError('overloaded');
    const nowMs = node.nowMs();
    const settings = { keyPrefix: DEFAULT_KEY_PREFIX, pepper: PEPPER, region: node.machine.region, regionUrls: {} };
    const principal = authenticate(node.picture, settings, presented, nowMs);
    if (revokedAt(node.machine.name).has(principal.key.id)) {
      throw new Violation('a revoked key is not let in once that is applied', `${node.life.name} let ${principal.key.id} in`);
    }
    if (!dice.chance(KEYED_SHARE)) {
      this.#admit(node, principal, newId('req', node.ids), undefined);
      return;
    }
    const slot = Math.floor(timeline.nowMs / SLOT_MS) - dice.between(0, REMEMBERED_SLOTS);
    this.#claim(node, principal, `${node.machine.region} ${principal.key.id} ${slot}`);
    // Its client is impatient.
    if (!dice.chance(0.4)) return;
    node.life.after(dice.between(10, 4_000), 'a client asks again', () => {
      if (node.grants !== undefined) this.#claim(node, principal, `${node.machine.region} ${principal.key.id} ${slot}`);
    });
  }

  #claim(node: Node, principal: Principal, name: string): void {
    const id = newId('req', node.ids);
    this.#deps.once.claim(node.life, name, id, (held) => {
      if (held === undefined) this.counts.otherwise++;
      else if ('kind' in held) this.counts.repeated++;
      else {
        try {
          this.#admit(node, principal, id, held);
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error;
          this.#nothing(held, error);
        }
      }
    });
  }

  #admit(node: Node, principal: Principal, id: string, held: Held | undefined): void {
    const { dice } = this.#deps;
    const grants = node.grants;
    if (grants === undefined) throw new GatewayError('overloaded');
    const nowMs = node.nowMs();
    const book = node.picture.priceBook(MODEL_ID);
    const listPrice = book === undefined ? undefined : priceInForce(book, nowMs);
    if (listPrice === undefined) throw new GatewayError('overloaded');
    const inputTokens = dice.between(50, 2_000);
    const asked = {
      ...{ operation: 'chat' as const, maxOutputTokens: dice.chance(0.8) ? dice.between(20, 2_000) : undefined, choices: 1 },
      ...{ serviceTier: 'standard' as const, inputTokensBound: inputTokens, readsBeyondBody: false, unbounded: undefined },
      ...{ takesOutputLimit: true, images: dice.chance(0.2) ? dice.between(1, 3) : 0 },
    };
    const ways = { listPrice, candidates: [{ model: MODEL, listPrice }] };
    let client: 'waits' | 'answered' | 'gone' = 'waits';
    const observed = this.#observed(node, grants, id, held);
    const giveUp = admit({ grants: observed.grants, keys: node.picture, nowMs: () => node.nowMs() }, principal, asked, ways, (verdict) => {
      // The code of a dead process runs on to the end of its turn, and does nothing.
      if (!node.life.alive) return;
      if (client === 'gone') throw new Violation('nobody is told who has given up', id);
      client = 'answered';
      this.#admitted(node, id, verdict, observed.request(), principal, asked, listPrice, held);
    });
    if (client !== 'waits' || !dice.chance(0.1)) return;
    node.life.after(dice.between(1, 3_000), 'a client leaves the line', () => {
      if (client !== 'waits') return;
      client = 'gone';
      if (held !== undefined) this.#deps.once.release(held);
      giveUp();
    });
  }

  #admitted(
    node: Node,
    id: string,
    verdict: Verdict,
    request: Request | undefined,
    principal: Principal,
    asked: { readonly inputTokensBound: number },
    listPrice: ListPrice,
    held: Held | undefined,
  ): void {
    const { truth } = this.#deps;
    if (verdict.kind === 'refused') {
      this.#nothing(held, verdict.error);
      return;
    }
    const spool = node.spool;
    if (request === undefined || spool === undefined) throw new Error('a request was admitted without a reservation');
    const { key, account, standing } = principal;
    const intent: Intent = {
      ...{ requestId: id, admittedAtMs: node.nowMs(), accountId: account.id, memberId: key.memberId, keyId: key.id },
      ...{ operation: 'chat', clientDialect: 'openai-chat', askedModel: MODEL_ID },
      priceVersions: [{ modelId: MODEL_ID, version: listPrice.version }],
      ...{ tierId: standing.tier.id, markupBasisPoints: standing.tier.markupBasisPoints, maxCostNano: verdict.terms.maxCostNano },
      leases: verdict.reservation.leases.map(({ leaseId, amount }) => ({ leaseId, amount: BigInt(amount) })),
    };
    truth.opened(request, intent);
    spool.intent(intent, (error) => {
      if (!node.life.alive) return;
      if (error !== undefined) {
        truth.dropped(request);
        node.grants?.settle(
          verdict.reservation,
          verdict.reservation.leases.map(() => 0),
          node.nowMs(),
        );
        this.#nothing(held, error);
        return;
      }
      node.life.effect();
      this.#call(node, request, intent, verdict, asked.inputTokensBound, listPrice);
    });
  }

  /** The provider is called; some time later it has answered, or not. */
  #call(node: Node, request: Request, intent: Intent, admitted: Admitted, inputTokensBound: number, listPrice: ListPrice): void {
    const { dice } = this.#deps;
    const startedMs = node.nowMs();
    const lastsMs = Math.floor(dice.exponential(dice.chance(0.2) ? 3_000 : 300)) + 5;
    const most = admitted.terms.maxOutputTokens;
    // Now and then a provider goes beyond what it was told.
    const wanted = dice.chance(0.02) ? most + dice.between(1, 500) : dice.between(0, most);
    const fate = dice.random();
    const output = fate >= 0.16 && fate < 0.2 ? 0 : wanted;
    node.life.after(lastsMs, `answers ${request.id.slice(-6)}`, () => {
      const candidate = { endpoint: endpointOf(listPrice), model: { id: MODEL_ID }, listPrice };
      const facts = {
        usage: { input: dice.between(1, inputTokensBound), output },
        ...{ usageIsInterim: false, serviceTier: 'standard' as const, countedOutputTokens: output },
      };
      const failed = fate < 0.08;
      const gone = !failed && fate < 0.16;
      const call = {
        ...{ candidate, startedMs, endedMs: node.nowMs(), status: failed ? 500 : 200, upstreamRequestId: undefined },
        errorCode: failed ? ('upstream_error' as const) : undefined,
        facts: failed ? undefined : gone && dice.chance(0.5) ? { ...facts, usage: undefined } : facts,
      };
      const ending: Ending = {
        outcome: failed ? 'failed' : gone ? 'client_gone' : output === 0 ? 'empty' : 'success',
        // As if every other request were of an account above its ceiling of uncharged cost.
        emptyIsCharged: startedMs % 2 === 0,
        served: failed ? undefined : call,
        ...{ calls: [call], stream: true, status: failed ? 502 : 200, error: undefined, firstByteMs: 1 },
        durationMs: Math.max(0, node.nowMs() - startedMs),
      };
      const { held } = request;
      if (held === undefined || failed) {
        this.#finish(node, request, intent, admitted, inputTokensBound, ending);
        return;
      }
      this.#deps.once.settle(held, (mine) => {
        const taken = { ...ending, outcome: 'failed' as const, served: undefined, status: 409 };
        this.#finish(node, request, intent, admitted, inputTokensBound, mine ? ending : taken);
      });
    });
  }

  #finish(node: Node, request: Request, intent: Intent, admitted: Admitted, inputTokensBound: number, ending: Ending): void {
    const { truth } = this.#deps;
    const { spool, grants } = node;
    if (spool === undefined || grants === undefined) return;
    const final = settle(intent, admitted.reservation.leases, inputTokensBound, ending);
    spool.final(final, (error) => {
      // The code of a dead process runs on, and does nothing.
      if (!node.life.alive) return;
      if (error !== undefined) {
        // The answer is not held back for a record that could not be written.
        truth.lost(request);
      }
      request.written = true;
      request.boundSeq = spool.lastSeq;
      node.life.effect();
      if (request.held !== undefined) {
        if (final.chargeNano > 0n || final.outcome === 'success' || final.outcome === 'empty') this.#deps.once.keep(request.held);
        else this.#deps.once.release(request.held);
      }
      if (ending.outcome === 'success' || ending.outcome === 'empty') request.completed = true;
      this.counts.served++;
    });
    // In this turn, and after the final was handed over: see request-path.
    truth.settled(request, final);
    grants.settle(
      admitted.reservation,
      final.leases.map(({ amount }) => Number(amount)),
      node.nowMs(),
    );
  }

  /** Looks on while grants are reserved. */
  #observed(
    node: Node,
    grants: Grants,
    id: string,
    held: Held | undefined,
  ): { readonly grants: Grants; readonly request: () => Request | undefined } {
    const { truth, spoolIdOf, judgesRefusals } = this.#deps;
    let request: Request | undefined;
    return {
      request: () => request,
      grants: {
        settle: (reservation, charges, nowMs) => grants.settle(reservation, charges, nowMs),
        room: (budgets) => grants.room(budgets),
        reserve: (amounts: readonly BudgetAmount[], nowMs, done) =>
          grants.reserve(amounts, nowMs, (outcome) => {
            if (!node.life.alive) {
              done(outcome);
              return;
            }
            if (outcome.kind === 'reserved') {
              request = {
                ...{ held, id, machine: node.machine.name, spoolId: spoolIdOf(node), amounts },
                leaseIds: outcome.reservation.leases.map((lease) => lease.leaseId),
                ...{ intent: undefined, final: undefined, written: false, boundSeq: 0, durable: false, completed: false },
                ...{ uncertain: false, over: false, committed: amounts.map((each) => each.amount) },
              };
              truth.reserved(request);
            } else if (outcome.refusal.kind === 'exhausted' && judgesRefusals()) {
              truth.refused(spoolIdOf(node), outcome.refusal);
            }
            done(outcome);
          }),
      },
    };
  }

  /** It ends before it has an intent. */
  #nothing(held: Held | undefined, error: GatewayError): void {
    if (held !== undefined) this.#deps.once.release(held);
    this.#refused(error);
  }

  #refused(error: GatewayError): void {
    if (error.code === 'insufficient_credits' || error.code === 'budget_exceeded' || error.code === 'daily_limit_exceeded')
      this.counts.exhausted++;
    else if (error.code === 'budget_unavailable') this.counts.unavailable++;
    else this.counts.otherwise++;
  }
}
