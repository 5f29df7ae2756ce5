/** Serves requests that carry an `Idempotency-Key`: the first one runs, every other gets its answer. */
import { GatewayError } from '@meridian/domain/error';
import type { Exchange, Reply, StoredAnswer } from '../exchange.ts';
import type { Timers } from '../routing/commit.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { CaptureRoom } from './capture.ts';
import { Claims, type Verdict } from './claims.ts';
import type { ReceiptReason } from './record.ts';
import { Recording } from './recording.ts';
import { Scope } from './scope.ts';
import type { RecordStore } from './store.ts';
import { readStoredAnswer } from './stored-answer.ts';
import { Unsaved } from './unsaved.ts';

export interface IdempotencyOptions {
  readonly store: RecordStore;
  readonly region: string;
  readonly timers: Timers;
  readonly log: Pick<Logger, 'error' | 'warn' | 'info'>;
  readonly metrics: Pick<Metrics, 'gauge' | 'counter'>;
  /** Unguessable, and never the same. */
  readonly newOwner: () => string;
  /** The longest that a request waits for another with its key; 30 s when absent. */
  readonly waitMs?: number;
}

export interface IdempotentRequest extends Pick<Exchange, 'requestId' | 'principal' | 'dialect' | 'operation' | 'place' | 'body'> {
  /** The header as it came. */
  readonly header: string;
  /** The raw API key, which has been authenticated. */
  readonly apiKey: string;
}

/** A reply that can give an answer again; the server satisfies it. */
export interface ReplayableReply extends Reply {
  replay(answer: StoredAnswer): void;
}

export class Idempotency {
  readonly #options: IdempotencyOptions;
  readonly #claims: Claims;
  readonly #room = new CaptureRoom();
  #replays = 0;
  #refusedForRoom = 0;

  constructor(options: IdempotencyOptions) {
    this.#options = options;
    const { store, timers, log, metrics, newOwner, waitMs } = options;
    const unsaved = new Unsaved(store, timers, log);
    this.#claims = new Claims({ store, unsaved, timers, log, newOwner, ...(waitMs === undefined ? {} : { waitMs }) });
    metrics.counter('meridian_idempotent_replays_total', 'Requests that were answered with a stored answer', () => this.#replays);
    metrics.counter(
      'meridian_idempotent_refused_total',
      'Requests that were refused because there was no room to remember their key',
      () => this.#refusedForRoom,
    );
    metrics.gauge('meridian_idempotent_waiting', 'Requests that wait for another with the same key', () => this.#claims.waiting);
    metrics.gauge('meridian_idempotent_unsaved', 'Answers that wait for the store of idempotency keys', () => unsaved.size);
  }

  /** Runs the request on a reply that keeps its answer, or answers without. Rejects only as `run` does. */
  async serve(request: IdempotentRequest, reply: ReplayableReply, run: (reply: Reply) => Promise<void>): Promise<void> {
    const { header, apiKey, principal, operation, dialect, place, body, requestId } = request;
    let scope: Scope;
    try {
      scope = new Scope(apiKey, this.#options.region, header);
    } catch (thrown) {
      reply.fail(GatewayError.from(thrown));
      return;
    }
    const { model = '', stream = false, form = '' } = place;
    const fingerprint = await scope.fingerprint([operation, dialect.name, model, stream, form].join('\0'), body);
    const verdict = await new Promise<Verdict>((resolve) => {
      reply.onGone(this.#claims.enter(scope.name, { fingerprint, requestId, accountId: principal.account.id }, resolve));
    });
    if (verdict.kind === 'claimed') {
      const recording = new Recording(reply, scope, requestId, verdict.hold, this.#room);
      try {
        await run(recording);
      } finally {
        await recording.close();
      }
    } else {
      this.#answer(verdict, scope, requestId, reply);
    }
  }

  /** The node stops: whoever waits for another request with its key is told to ask again. */
  giveUpWaiting(): void {
    this.#claims.giveUpWaiting();
  }

  #answer(verdict: Exclude<Verdict, { kind: 'claimed' }>, scope: Scope, retryId: string, reply: ReplayableReply): void {
    switch (verdict.kind) {
      case 'answer': {
        const plain = scope.open(verdict.requestId, verdict.sealed);
        const answer = plain === undefined ? undefined : readStoredAnswer(plain);
        if (answer === undefined) {
          this.#options.log.error({ request_id: verdict.requestId }, 'a stored answer cannot be read');
          reply.fail(noAnswer(verdict.requestId, 'unsettled'));
          return;
        }
        this.#replays++;
        this.#options.log.info({ request_id: retryId, replay_of: verdict.requestId }, 'replayed');
        reply.replay(answer);
        return;
      }
      case 'receipt':
        reply.fail(noAnswer(verdict.requestId, verdict.reason));
        return;
      case 'other_body':
        reply.fail(
          new GatewayError('invalid_state', {
            message: 'This Idempotency-Key was used for another request. Use a new key for a new request.',
            param: 'Idempotency-Key',
          }),
        );
        return;
      case 'running':
        reply.fail(
          new GatewayError('conflict', {
            message: 'A request with this Idempotency-Key is still being served. Retry later to get its answer.',
            param: 'Idempotency-Key',
            retryable: true,
            retryAfterSeconds: 1,
          }),
        );
        return;
      case 'away':
        reply.fail(
          new GatewayError('overloaded', {
            message: 'Idempotency keys cannot be looked up at the moment, so a request with one is not served.',
            param: 'Idempotency-Key',
            retryAfterSeconds: 1,
            cause: verdict.cause,
          }),
        );
        return;
      case 'full':
        this.#refusedForRoom++;
        reply.fail(
          new GatewayError('overloaded', {
            message:
              'No further Idempotency-Key can be remembered for this account at the moment, so a request with a new one is not served.',
            param: 'Idempotency-Key',
            retryAfterSeconds: NO_ROOM_RETRY_AFTER_S,
          }),
        );
        return;
      case 'left':
        reply.fail(new GatewayError('client_closed_request'));
        return;
      default:
        verdict satisfies never;
    }
  }
}

/** Room comes back when requests end without a charge, and when keys are a day old. */
const NO_ROOM_RETRY_AFTER_S = 60;

const WHY_NO_ANSWER: Readonly<Record<ReceiptReason, string>> = {
  too_large: 'its answer was too large to be kept',
  cut: 'its answer ended before it was whole',
  unsettled: 'its answer is lost',
  no_room: 'there was no room to keep its answer for longer',
};

/** It was served, and is not served again: the customer has its receipt. */
function noAnswer(requestId: string, reason: ReceiptReason): GatewayError {
  return new GatewayError('conflict', {
    message: `A request with this Idempotency-Key was already served as ${requestId}, and ${WHY_NO_ANSWER[reason]}. Its receipt is at /v1/usage/requests/${requestId}. Use a new key to ask again.`,
    param: 'Idempotency-Key',
    details: { request_id: requestId, reason },
  });
}
