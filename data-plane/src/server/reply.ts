/** Answers → bytes on the client's socket, with backpressure. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { GatewayError } from '@meridian/domain/error';
import { lossHeader } from '../canonical/loss.ts';
import type { Dialect } from '../dialect/dialect.ts';
import type { Reply, StoredAnswer } from '../exchange.ts';
import type { AnswerMeta } from '../routing/commit.ts';

/** Bodies below this are joined into one write; larger ones go out slice by slice, never copied. */
const JOIN_BELOW_BYTES = 64 * 1024;
/** After a refusal, a body that is still coming is read and thrown away for so long, so that the client gets to see the answer. */
const LINGER_MS = 5_000;
const MAX_LINGER_BYTES = 64 * 1024 * 1024;
/** A client that takes none of the bytes that wait for it is disconnected after this. */
const STALL_MS = 60_000;
/** Above this, what is left of a refused body is not worth reading to keep the connection. */
const KEEP_CONNECTION_BELOW_BYTES = 64 * 1024;
const EVENT_STREAM = 'text/event-stream; charset=utf-8';
const STREAM_HEADERS: readonly string[] = ['cache-control', 'no-cache', 'x-accel-buffering', 'no'];
const MAX_LOSS_CHARACTERS = 1_024;
const NO_HEADERS: readonly string[] = Object.freeze([]);
const JSON_HEADERS: readonly string[] = ['content-type', 'application/json'];

export interface ReplyTerms {
  readonly requestId: string;
  readonly region: string;
  readonly dialect: Dialect;
  /** Sent with every answer: CORS. */
  readonly standingHeaders: readonly string[];
  readonly onError: (error: GatewayError) => void;
  readonly onStatus: (status: number) => void;
  /** Once, when the answer is out or the connection gone. */
  readonly onClosed: () => void;
  /** Whether the connection is to be closed after the answer. */
  readonly closing: () => boolean;
  /** `STALL_MS` when absent. */
  readonly stallMs?: number;
}

export class HttpReply implements Reply {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #terms: ReplyTerms;
  #requestId: string;
  #gone = false;
  #hasEvents = false;
  #corked = false;
  #onGone: (() => void) | undefined;
  #whenClosed: (() => void) | undefined;
  #closed = false;
  /** Told with every answer to a key that has rate limits. */
  rateLimits: { headers(): readonly string[] } | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, terms: ReplyTerms) {
    this.#request = request;
    this.#response = response;
    this.#terms = terms;
    this.#requestId = terms.requestId;
    response.once('close', () => this.#close());
    // A write to a socket that the client has reset: 'close' tells the rest of the story.
    response.on('error', () => {});
  }

  get gone(): boolean {
    // A socket that was reset is destroyed some turns before its 'close' is told.
    return this.#gone || this.#request.socket.destroyed;
  }

  onGone(run: () => void): void {
    this.#onGone = run;
    if (this.#gone) run();
  }

  /** Runs once, when the answer is out or the connection gone. */
  whenClosed(run: () => void): void {
    const before = this.#whenClosed;
    this.#whenClosed =
      before === undefined
        ? run
        : () => {
            before();
            run();
          };
    if (this.#closed) run();
  }

  #close(): void {
    this.#closed = true;
    this.#whenClosed?.();
    this.#terms.onClosed();
    if (this.#response.writableFinished) return;
    this.#gone = true;
    this.#onGone?.();
  }

  answer(meta: AnswerMeta, body: readonly Buffer[]): void {
    this.#send(200, [...JSON_HEADERS, ...this.#idHeaders(), ...this.#metaHeaders(meta)], body);
  }

  /** The answer of another request, under that one's id. */
  replay({ requestId, stream, meta, body }: StoredAnswer): void {
    this.#requestId = requestId;
    const headers = [...(stream ? this.#streamHeaders() : [...JSON_HEADERS, ...this.#idHeaders()]), 'x-meridian-replay', 'true'];
    this.#send(200, [...headers, ...(meta === undefined ? [] : this.#metaHeaders(meta))], [body]);
  }

  fail(error: GatewayError): void {
    if (this.#response.headersSent) {
      // Not foreseen once the head is out; a stream that has begun can still tell of it.
      if (!this.#response.writableEnded) this.breakOff(error);
      return;
    }
    this.#terms.onError(error);
    const rendered = this.#terms.dialect.renderError(error, this.#terms.requestId);
    this.#send(rendered.status, rendered.headers, [rendered.body]);
  }

  /** A JSON answer of the gateway's own. */
  json(status: number, value: unknown, headers: readonly string[] = []): void {
    this.#send(status, [...JSON_HEADERS, ...headers], [Buffer.from(JSON.stringify(value))]);
  }

  /** A JSON answer whose text is there. */
  jsonBytes(status: number, text: Buffer): void {
    this.#send(status, [...JSON_HEADERS, ...this.#idHeaders()], [text]);
  }

  /** An answer of the control plane, as it came. */
  forwarded(status: number, headers: readonly string[], body: readonly Buffer[]): void {
    this.#send(status, headers, body);
  }

  open(meta: AnswerMeta | undefined): void {
    if (this.#gone || this.#response.headersSent) return;
    this.#terms.onStatus(200);
    const headers = this.#streamHeaders();
    if (this.#terms.closing()) headers.push('connection', 'close');
    this.#cork();
    this.#response.writeHead(200, [...headers, ...this.#standing(), ...(meta === undefined ? [] : this.#metaHeaders(meta))]);
    this.#response.flushHeaders();
  }

  write(events: readonly Buffer[]): boolean {
    if (this.#gone) return true;
    this.#hasEvents = true;
    return this.#write(events);
  }

  onDrain(resume: () => void): void {
    const { socket } = this.#response;
    socket?.setTimeout(this.#terms.stallMs ?? STALL_MS);
    this.#response.once('drain', () => {
      socket?.setTimeout(0);
      resume();
    });
  }

  keepAlive(): void {
    if (this.#gone) return;
    const { keepAlive, keepAliveBeforeEvents } = this.#terms.dialect;
    this.#write([this.#hasEvents ? keepAlive : (keepAliveBeforeEvents ?? keepAlive)]);
  }

  #write(bytes: readonly Buffer[]): boolean {
    this.#cork();
    let ready = true;
    for (const one of joinedIfSmall(bytes)) ready = this.#response.write(one);
    return ready;
  }

  finish(events: readonly Buffer[]): void {
    if (this.#gone) return;
    this.#cork();
    for (const one of joinedIfSmall(events)) this.#response.write(one);
    this.#response.end();
    this.#watchRest();
  }

  breakOff(error: GatewayError, bytes?: readonly Buffer[]): void {
    this.#terms.onError(error);
    this.finish(bytes ?? [this.#terms.dialect.renderStreamError(error, this.#terms.requestId)]);
  }

  /** Writes of one turn of the event loop leave in one packet. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#response.cork();
    setImmediate(() => {
      this.#corked = false;
      this.#response.uncork();
    });
  }

  #send(status: number, headers: readonly string[], body: readonly Buffer[]): void {
    if (this.#gone || this.#response.headersSent) return;
    this.#terms.onStatus(status);
    let bytes = 0;
    for (const part of body) bytes += part.length;
    const all = [...headers, ...this.#standing()];
    if (status !== 204 && status !== 304) all.push('content-length', String(bytes));
    const lingers = !this.#request.complete && !this.#restIsSmall();
    if (lingers || this.#terms.closing()) all.push('connection', 'close');
    this.#response.writeHead(status, all);
    if (lingers) {
      for (const part of body) this.#response.write(part);
      this.#linger();
    } else {
      const parts = joinedIfSmall(body);
      for (const part of parts.slice(0, -1)) this.#response.write(part);
      this.#response.end(parts.at(-1));
    }
    this.#watchRest();
  }

  /** What the socket has not taken at once waits for a client that may never read it. */
  #watchRest(): void {
    if (this.#response.writableLength > 0) this.#response.socket?.setTimeout(this.#terms.stallMs ?? STALL_MS);
  }

  /** Of a request that is not complete: hooks run before the parser has told that there is no body. */
  #restIsSmall(): boolean {
    const { 'content-length': declared, 'transfer-encoding': encoding } = this.#request.headers;
    return encoding === undefined && Number(declared ?? 0) <= KEEP_CONNECTION_BELOW_BYTES;
  }

  /** Closing at once would reset the connection under the client's upload, and the answer with it. */
  #linger(): void {
    let bytes = 0;
    const end = (): void => {
      clearTimeout(timer);
      this.#response.end();
    };
    this.#request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_LINGER_BYTES) end();
    });
    const timer = setTimeout(end, LINGER_MS);
    timer.unref();
    this.#request.once('end', end);
    this.#request.once('close', end);
    this.#request.resume();
  }

  #standing(): readonly string[] {
    const standing = ['x-request-id', this.#requestId, 'x-meridian-region', this.#terms.region, ...this.#terms.standingHeaders];
    if (this.rateLimits !== undefined) standing.push(...this.rateLimits.headers());
    return standing;
  }

  /** The id by the dialect's own name for it. */
  #idHeaders(): readonly string[] {
    const { requestIdHeader } = this.#terms.dialect;
    return requestIdHeader === undefined ? NO_HEADERS : [requestIdHeader, this.#requestId];
  }

  #streamHeaders(): string[] {
    return ['content-type', this.#terms.dialect.streamContentType ?? EVENT_STREAM, ...STREAM_HEADERS, ...this.#idHeaders()];
  }

  #metaHeaders(meta: AnswerMeta): string[] {
    const headers = ['x-meridian-provider', headerText(meta.providerId), 'x-meridian-attempts', String(meta.attempts)];
    if (meta.actualModel !== undefined) headers.push('x-actual-model', headerText(meta.actualModel));
    if (meta.costUsdLiteral !== undefined) headers.push('x-meridian-cost-usd', meta.costUsdLiteral);
    const loss = lossHeader(meta.losses ?? []);
    if (loss !== undefined) headers.push('x-meridian-loss', headerText(loss, MAX_LOSS_CHARACTERS));
    return headers;
  }
}

function joinedIfSmall(parts: readonly Buffer[]): readonly Buffer[] {
  if (parts.length < 2) return parts;
  let bytes = 0;
  for (const part of parts) bytes += part.length;
  return bytes < JOIN_BELOW_BYTES ? [Buffer.concat(parts, bytes)] : parts;
}

/** A text from outside as a header value: printable ASCII. */
function headerText(text: string, maxCharacters = 256): string {
  return text.slice(0, maxCharacters).replace(/[^\x20-\x7e]/g, '?');
}
