/** What the streams of the pass-through lane have in common: bytes are cut into events, these are read one by one, and the stream ends once. */
import { GatewayError } from '@meridian/domain/error';
import { hasNoOutput, TEXT_BYTES_PER_TOKEN } from './answer-facts.ts';
import type { AnswerFacts, AnswerStream, StreamEnd, StreamTerms } from './dialect.ts';
import { type SseEvent, SseSplitter } from './sse.ts';
import { streamFailure } from './upstream-error.ts';

const RUNNING: StreamEnd = { state: 'running' };
const FINISHED: StreamEnd = { state: 'finished' };

/** What an upstream has told of its answer so far. */
export type Told = Pick<AnswerFacts, 'usage' | 'serviceTier' | 'model' | 'reasoningTokens'>;

/** States: the machine runs, uncommitted at first, until it is finished or broken; `finish` and `fail` alone end it. */
export abstract class PassThroughStream implements AnswerStream {
  protected readonly terms: StreamTerms;
  protected isCommitted = false;
  protected contentEvents = 0;
  /** `contentEvents` when usage was last reported. */
  protected reportedEvents = 0;
  protected textBytes = 0;
  readonly #splitter = new SseSplitter();
  #end: StreamEnd = RUNNING;

  constructor(terms: StreamTerms) {
    this.terms = terms;
  }

  /** Reads one event of the upstream's, and hands it on or keeps it. What it throws breaks the stream. */
  protected abstract read(event: SseEvent): void;

  /** Whether the answer is whole where the upstream just closes. */
  protected abstract get isWhole(): boolean;

  protected abstract get told(): Told;

  abstract take(): Buffer[];

  abstract terminal(costUsdLiteral: string): Buffer[];

  get committed(): boolean {
    return this.isCommitted;
  }

  get end(): StreamEnd {
    return this.#end;
  }

  get facts(): AnswerFacts {
    const { usage, serviceTier, model, reasoningTokens } = this.told;
    return {
      usage,
      usageIsInterim: usage !== undefined && this.contentEvents > this.reportedEvents,
      serviceTier,
      model,
      empty: this.contentEvents === 0 && hasNoOutput(usage),
      countedOutputTokens: Math.max(this.contentEvents, Math.ceil(this.textBytes / TEXT_BYTES_PER_TOKEN)),
      reasoningTokens,
    };
  }

  push(bytes: Buffer): void {
    this.#guard(() => this.#splitter.push(bytes));
  }

  close(): void {
    this.#guard(() => this.#splitter.end());
    if (this.#end !== RUNNING) return;
    if (this.isWhole) this.finish();
    else this.fail(new GatewayError('upstream_error', { source: 'upstream', message: 'The provider closed the stream before its end.' }));
  }

  protected finish(): void {
    this.#end = FINISHED;
  }

  protected fail(error: GatewayError): void {
    this.#end = { state: 'broken', error };
  }

  #guard(split: () => SseEvent[]): void {
    if (this.#end !== RUNNING) return;
    try {
      for (const event of split()) {
        this.read(event);
        if (this.#end !== RUNNING) return;
      }
    } catch (error) {
      this.fail(streamFailure(error));
    }
  }
}
