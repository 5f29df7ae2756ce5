/** What the stream decoders of all dialects have in common: bytes are cut into events, these are read one by one, and the stream ends once. */
import { GatewayError } from '@meridian/domain/error';
import type { StreamEvent } from '../canonical/event.ts';
import type { StreamDecoder } from './dialect.ts';
import { type SseEvent, SseSplitter } from './sse.ts';

/** States: running, then over, by `finish` or by `fail`. */
export abstract class EventStreamDecoder implements StreamDecoder {
  /** What has been read, and not been taken. */
  protected events: StreamEvent[] = [];
  readonly #splitter = new SseSplitter();
  #isOver = false;

  /** Reads one event of the upstream's into `events`. What it throws ends the stream. */
  protected abstract read(event: SseEvent): void;

  /** Whether the answer is whole where the upstream just closes. */
  protected abstract get isWhole(): boolean;

  /** Puts into `events` what has waited for the end of a whole stream. */
  protected settle(): void {}

  push(bytes: Buffer): StreamEvent[] {
    return this.#run(() => this.#readAll(this.#splitter.push(bytes)));
  }

  end(): StreamEvent[] {
    return this.#run(() => {
      this.#readAll(this.#splitter.end());
      if (this.#isOver) return;
      if (this.isWhole) this.finish();
      else this.fail(new GatewayError('upstream_error', { source: 'upstream', message: 'The provider closed the stream before its end.' }));
    });
  }

  protected finish(): void {
    this.settle();
    this.events.push({ type: 'end' });
    this.#isOver = true;
  }

  protected fail(error: GatewayError): void {
    this.events.push({ type: 'error', error });
    this.#isOver = true;
  }

  #readAll(events: readonly SseEvent[]): void {
    for (const event of events) {
      if (this.#isOver) return;
      this.read(event);
    }
  }

  #run(read: () => void): StreamEvent[] {
    if (this.#isOver) return [];
    try {
      read();
    } catch (error) {
      this.fail(GatewayError.from(error));
    }
    const taken = this.events;
    this.events = [];
    return taken;
  }
}
