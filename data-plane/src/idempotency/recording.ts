/**
 * The reply of a request that holds an idempotency key: what goes to the client is kept for its retries, and kept before the client has
 * the end of it. So whoever has seen a whole answer gets the same one again, and whoever has not gets it as well.
 *
 * Kept are whole answers, whether their client was still there or not. A request that failed, of whatever status, is released: it cost
 * nothing, and what is wrong with it today may be right when it is retried. What was charged without a whole answer, or with one that is
 * too large, leaves its receipt.
 */
import type { GatewayError } from '@meridian/domain/error';
import { type Final, isCharged } from '@meridian/domain/usage-record';
import type { Once, Reply } from '../exchange.ts';
import type { AnswerMeta } from '../routing/commit.ts';
import { Capture, type CaptureRoom, MAX_ANSWER_BYTES } from './capture.ts';
import type { Hold } from './hold.ts';
import type { Kept } from './record.ts';
import type { Scope } from './scope.ts';
import { writeStoredAnswer } from './stored-answer.ts';

export class Recording implements Reply, Once {
  readonly recording = true;
  readonly once: Once = this;
  readonly #reply: Reply;
  readonly #scope: Scope;
  readonly #requestId: string;
  readonly #hold: Hold;
  readonly #capture: Capture;
  #meta: AnswerMeta | undefined;
  #charged = false;
  /** Resolves when the claim has ended and the last bytes are on their way. */
  #ended: Promise<void> | undefined;

  constructor(reply: Reply, scope: Scope, requestId: string, hold: Hold, room: CaptureRoom) {
    this.#reply = reply;
    this.#scope = scope;
    this.#requestId = requestId;
    this.#hold = hold;
    this.#capture = new Capture(room);
  }

  get gone(): boolean {
    return this.#reply.gone;
  }

  onGone(run: () => void): void {
    this.#reply.onGone(run);
  }

  settling(): Promise<boolean> {
    return this.#hold.settle();
  }

  settled(final: Final): void {
    this.#charged = isCharged(final) || final.chargeNano > 0n;
  }

  open(meta: AnswerMeta | undefined): void {
    this.#meta = meta;
    this.#reply.open(meta);
  }

  write(events: readonly Buffer[]): boolean {
    this.#capture.add(events);
    return this.#reply.write(events);
  }

  onDrain(resume: () => void): void {
    this.#reply.onDrain(resume);
  }

  /** Not kept: it says that time passes, which it does not in a replay. */
  keepAlive(): void {
    this.#reply.keepAlive();
  }

  finish(events: readonly Buffer[]): void {
    this.#capture.add(events);
    const kept = this.#capture.over ? TOO_LARGE : this.#answer(true, this.#meta, [this.#capture.body]);
    this.#end(kept, () => this.#reply.finish(events));
  }

  answer(meta: AnswerMeta, body: readonly Buffer[]): void {
    const bytes = body.reduce((sum, part) => sum + part.length, 0);
    this.#end(bytes > MAX_ANSWER_BYTES ? TOO_LARGE : this.#answer(false, meta, body), () => this.#reply.answer(meta, body));
  }

  fail(error: GatewayError): void {
    this.#end(this.#withoutAnswer(), () => this.#reply.fail(error));
  }

  breakOff(error: GatewayError, bytes?: readonly Buffer[]): void {
    this.#end(this.#withoutAnswer(), () => this.#reply.breakOff(error, bytes));
  }

  /** Once the request has been served: what ended without a word to its client ends its claim here. */
  async close(): Promise<void> {
    if (this.#ended === undefined) this.#end(this.#withoutAnswer(), () => {});
    await this.#ended;
  }

  #answer(stream: boolean, meta: AnswerMeta | undefined, body: readonly Buffer[]): Kept {
    return {
      kind: 'answer',
      sealed: this.#scope.seal(this.#requestId, writeStoredAnswer({ requestId: this.#requestId, stream, meta, body })),
    };
  }

  #withoutAnswer(): Kept | undefined {
    return this.#charged ? { kind: 'receipt', reason: 'cut' } : undefined;
  }

  #end(kept: Kept | undefined, release: () => void): void {
    this.#capture.drop();
    this.#ended = (kept === undefined ? this.#hold.release() : this.#hold.keep(kept)).then(release);
  }
}

const TOO_LARGE: Kept = { kind: 'receipt', reason: 'too_large' };
