/**
 * Client and upstream speak different dialects: what one says goes through the canonical language into the other's words, and the answer
 * comes back the same way. Knows no dialect by name.
 */
import { randomInt } from 'node:crypto';
import { GatewayError } from '@meridian/domain/error';
import { chargedUsage } from '@meridian/domain/estimated-usage';
import type { ServiceTier } from '@meridian/domain/price';
import type { EmbeddingRequest } from '../canonical/embedding.ts';
import type { StreamEvent } from '../canonical/event.ts';
import type { Part } from '../canonical/message.ts';
import type { Request } from '../canonical/request.ts';
import type { Response, UsageReport } from '../canonical/response.ts';
import { hasNoOutput, MAX_HELD_BYTES, TEXT_BYTES_PER_TOKEN } from './answer-facts.ts';
import type { AnswerFacts, AnswerStream, Dialect, EmbeddingsCodec, Encoded, StreamDecoder, StreamEncoder, StreamEnd } from './dialect.ts';
import { NO_REST } from './json.ts';
import type { Lane } from './lane.ts';

export interface TranslationTerms {
  readonly requestId: string;
  readonly createdSeconds: number;
  /** In seconds since 1970. */
  readonly nowSeconds?: () => number;
  /** Told as usage, beside the output that was counted, where the upstream tells none; absent: no usage is made. */
  readonly estimatedInputTokens?: number;
}

/** Throws GatewayError 400 where the body cannot be read as a whole. */
export function translatedLane(client: Dialect, upstream: Dialect, request: Request, terms: TranslationTerms): Lane {
  return {
    passOn: [],
    request: (encodeTerms) => upstream.encodeRequest(forModel(request, encodeTerms.capabilities), encodeTerms),
    answer: (body, { model }) => {
      const response = upstream.decodeResponse(body);
      const facts = responseFacts(response);
      const usage = response.usage ?? chargedReport(terms, undefined, facts.countedOutputTokens);
      const written = writable(() =>
        client.encodeResponse({ ...response, usage }, { ...terms, model, costUsdLiteral: COST_PLACEHOLDER, request }),
      );
      return { facts, rewrite: ({ costUsdLiteral }) => withCost(written, costUsdLiteral) };
    },
    stream: (streamTerms) =>
      new TranslatedStream(
        upstream.decodeStream(),
        client.encodeStream({ ...terms, model: streamTerms.model, wantsStreamUsage: streamTerms.wantsStreamUsage, request }),
        terms,
      ),
    upstreamError: (status, headers, body) => upstream.readUpstreamError(status, headers, body),
  };
}

/** What the client is told, and what is charged, where the upstream told no usage, or none since the last content. */
function chargedReport(
  { estimatedInputTokens }: TranslationTerms,
  told: UsageReport | undefined,
  countedOutputTokens: number,
): UsageReport | undefined {
  if (estimatedInputTokens === undefined) return told;
  const usage = chargedUsage(told?.usage, estimatedInputTokens, countedOutputTokens);
  return { usage, reasoningTokens: told?.reasoningTokens, raw: NO_REST };
}

/** Thinking that nobody asked for is not asked of a model that does not think. */
function forModel(request: Request, capabilities: readonly string[]): Request {
  const isAsked = request.reasoning?.isDefault !== true || capabilities.includes('reasoning');
  return isAsked ? request : { ...request, reasoning: undefined };
}

/**
 * What stands for the cost until it is known. An answer is written before it is settled, so that one which cannot be written is not charged;
 * and its digits are nobody's own, so that they are found wherever the dialect puts them.
 */
const COST_PLACEHOLDER = `0.${randomInt(1e13, 1e14)}e-99`;
const COST_PLACEHOLDER_BYTES = Buffer.from(COST_PLACEHOLDER);

function withCost({ body, losses }: Encoded, costUsdLiteral: string): Encoded {
  const bytes = body.length === 1 && body[0] !== undefined ? body[0] : Buffer.concat(body as Buffer[]);
  const at = bytes.indexOf(COST_PLACEHOLDER_BYTES);
  if (at === -1) return { body: [bytes], losses };
  const after = bytes.subarray(at + COST_PLACEHOLDER_BYTES.length);
  return { body: [bytes.subarray(0, at), Buffer.from(costUsdLiteral), after], losses };
}

/** What an upstream has answered and the client's dialect cannot say is the upstream's fault. */
function writable(encode: () => Encoded): Encoded {
  try {
    return encode();
  } catch (thrown) {
    throw upstreams(GatewayError.from(thrown));
  }
}

function upstreams(error: GatewayError): GatewayError {
  if (error.source !== 'client') return error;
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's answer could not be read.", cause: error });
}

/** Embeddings of a client's dialect by an upstream's. */
export function translatedEmbeddings(client: EmbeddingsCodec, upstream: Dialect, request: EmbeddingRequest, terms: TranslationTerms): Lane {
  const codec = upstream.embeddings;
  if (codec === undefined) {
    throw new GatewayError('upstream_error', { source: 'gateway', retryable: false, cause: `${upstream.name} has no embeddings` });
  }
  return {
    passOn: [],
    request: (terms) => codec.encodeRequest(request, terms),
    answer: (body, { model }) => {
      const response = codec.decodeResponse(body, request);
      const usage = response.usage ?? chargedReport(terms, undefined, 0);
      const written = writable(() => client.encodeResponse({ ...response, usage }, { model, costUsdLiteral: COST_PLACEHOLDER, request }));
      return {
        facts: {
          usage: response.usage?.usage,
          usageIsInterim: false,
          serviceTier: undefined,
          model: response.model,
          empty: false,
          countedOutputTokens: 0,
        },
        rewrite: ({ costUsdLiteral }) => withCost(written, costUsdLiteral),
      };
    },
    stream: () => {
      throw new GatewayError('upstream_error', { source: 'gateway', retryable: false, cause: 'embeddings are no stream' });
    },
    upstreamError: (status, headers, body) => upstream.readUpstreamError(status, headers, body),
  };
}

function responseFacts({ choices, usage, serviceTier, model }: Response): AnswerFacts {
  let textBytes = 0;
  let isEmpty = true;
  for (const { parts } of choices) {
    for (const part of parts) {
      if (isContent(part)) isEmpty = false;
      textBytes += generatedBytes(part);
    }
  }
  return {
    usage: usage?.usage,
    usageIsInterim: false,
    serviceTier,
    model,
    empty: isEmpty && hasNoOutput(usage?.usage),
    countedOutputTokens: Math.ceil(textBytes / TEXT_BYTES_PER_TOKEN),
    reasoningTokens: usage?.reasoningTokens,
  };
}

/** What a client waits for: text, reasoning, a call, a refusal, media. Opaque state alone is none. */
function isContent(part: Part): boolean {
  switch (part.type) {
    case 'text':
    case 'refusal':
      return part.text !== '';
    case 'reasoning':
      return part.text !== '' || part.carriers.length > 0;
    default:
      return true;
  }
}

function generatedBytes(part: Part): number {
  switch (part.type) {
    case 'text':
    case 'refusal':
    case 'reasoning':
      return Buffer.byteLength(part.text);
    case 'tool_call':
      return Buffer.byteLength(part.name) + Buffer.byteLength(part.arguments);
    default:
      return 0;
  }
}

const RUNNING: StreamEnd = { state: 'running' };
const FINISHED: StreamEnd = { state: 'finished' };

/**
 * Decoder and encoder, back to back. States: running, uncommitted at first, until it is finished (the decoder's `end`) or broken (its
 * `error`, or what the encoder throws).
 *
 * Output of a stream that is cut is counted as in the other lane: by the bytes of what was generated, at least one token an event.
 */
class TranslatedStream implements AnswerStream {
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;
  readonly #terms: TranslationTerms;
  #end: StreamEnd = RUNNING;
  #committed = false;
  #out: Buffer[] = [];
  #heldBytes = 0;
  #report: UsageReport | undefined;
  #serviceTier: ServiceTier | undefined;
  #model: string | undefined;
  #contentEvents = 0;
  /** `#contentEvents` when usage was last reported. */
  #reportedEvents = 0;
  #textBytes = 0;

  constructor(decoder: StreamDecoder, encoder: StreamEncoder, terms: TranslationTerms) {
    this.#decoder = decoder;
    this.#encoder = encoder;
    this.#terms = terms;
  }

  get committed(): boolean {
    return this.#committed;
  }

  get end(): StreamEnd {
    return this.#end;
  }

  get facts(): AnswerFacts {
    const usage = this.#report?.usage;
    return {
      usage,
      usageIsInterim: usage !== undefined && this.#contentEvents > this.#reportedEvents,
      serviceTier: this.#serviceTier,
      model: this.#model,
      empty: this.#contentEvents === 0 && hasNoOutput(usage),
      countedOutputTokens: this.#countedTokens,
      reasoningTokens: this.#report?.reasoningTokens,
    };
  }

  get #countedTokens(): number {
    return Math.max(this.#contentEvents, Math.ceil(this.#textBytes / TEXT_BYTES_PER_TOKEN));
  }

  push(bytes: Buffer): void {
    if (this.#end === RUNNING) this.#take(() => this.#decoder.push(bytes));
  }

  close(): void {
    if (this.#end === RUNNING) this.#take(() => this.#decoder.end());
    if (this.#end === RUNNING) this.#break(new GatewayError('upstream_error', { source: 'upstream', cause: 'a stream without an end' }));
  }

  take(): Buffer[] {
    const taken = this.#out;
    this.#out = [];
    this.#heldBytes = 0;
    return taken;
  }

  terminal(costUsdLiteral: string): Buffer[] {
    return this.#encoder.end(costUsdLiteral);
  }

  failure(error: GatewayError): Buffer[] | undefined {
    return this.#encoder.failure?.(error);
  }

  #take(decode: () => StreamEvent[]): void {
    try {
      const events = decode();
      let failure: GatewayError | undefined;
      let isWhole = false;
      for (const event of events) {
        if (event.type === 'error') failure = event.error;
        else if (event.type === 'end') isWhole = true;
      }
      // What came before an error is handed on: the client has a right to what was generated.
      const written = this.#encoder.push(failure === undefined ? events : events.filter((event) => event.type !== 'error'));
      // Not before: what cannot be written is not counted.
      for (const event of events) this.#measure(event);
      for (const bytes of written) {
        this.#out.push(bytes);
        if (!this.#committed) this.#heldBytes += bytes.length;
      }
      if (this.#contentEvents > 0 || this.#heldBytes > MAX_HELD_BYTES) this.#committed = true;
      if (failure !== undefined) this.#break(failure);
      else if (isWhole) this.#whole();
    } catch (thrown) {
      this.#break(upstreams(GatewayError.from(thrown)));
    }
  }

  #whole(): void {
    if (this.#report === undefined || this.#contentEvents > this.#reportedEvents) {
      const report = chargedReport(this.#terms, this.#report, this.#countedTokens);
      if (report !== undefined) this.#out.push(...this.#encoder.push([{ type: 'usage', report }]));
    }
    this.#end = FINISHED;
  }

  #break(error: GatewayError): void {
    this.#end = { state: 'broken', error };
  }

  #measure(event: StreamEvent): void {
    switch (event.type) {
      case 'start':
        this.#model = event.model ?? this.#model;
        break;
      case 'text':
      case 'reasoning':
      case 'refusal':
      case 'tool_call_arguments':
        this.#content(Buffer.byteLength(event.text));
        break;
      case 'tool_call_start':
        this.#content(Buffer.byteLength(event.name));
        break;
      case 'media':
      case 'reasoning_carrier':
      case 'foreign':
        this.#content(0);
        break;
      case 'usage':
        this.#report = event.report;
        this.#reportedEvents = this.#contentEvents;
        break;
      case 'service_tier':
        this.#serviceTier = event.serviceTier;
        break;
      case 'citation':
      case 'finish':
      case 'error':
      case 'end':
        break;
      default:
        event satisfies never;
    }
  }

  #content(bytes: number): void {
    this.#contentEvents++;
    this.#textBytes += bytes;
  }
}
