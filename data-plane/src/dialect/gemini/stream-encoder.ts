/** Canonical events as a stream of this protocol, for a client. */
import type { GatewayError } from '@meridian/domain/error';
import type { ServiceTier } from '@meridian/domain/price';
import type { StreamEvent } from '../../canonical/event.ts';
import type { Finish } from '../../canonical/finish.ts';
import { StreamLosses } from '../../canonical/loss.ts';
import type { Citation, ToolCallPart } from '../../canonical/message.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { originalToolName } from '../../canonical/tool-name.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import type { EncodeStreamTerms, StreamEncoder } from '../dialect.ts';
import { type JsonObject, NO_REST, withLiteral } from '../json.ts';
import { TextPlaces, writeGrounding } from './citations.ts';
import { streamError } from './error.ts';
import type { Framing } from './framing.ts';
import { JsonExtent } from './json-extent.ts';
import { writeLogprobs } from './logprobs.ts';
import { type PartTerms, signatureOf, signed, writeCall, writeModelParts } from './message.ts';
import { finishFields } from './response.ts';
import { DIALECT } from './schema.ts';
import { writeUsage } from './usage.ts';

/** Arguments are kept until they are whole, since this protocol sends them as an object. */
const MAX_KEPT_CHARACTERS = 16 * 1024 * 1024;

/** A call whose arguments are still coming. */
interface KeptCall {
  readonly start: StreamEvent & { readonly type: 'tool_call_start' };
  arguments: string;
  readonly extent: JsonExtent;
  /** They were closed, and no object: nothing that follows makes them one. */
  isBroken: boolean;
}

/** What of a candidate is kept for later. */
interface Kept {
  /** The last piece of thinking, which a signature that follows belongs to. */
  thought: string;
  calls: KeptCall[];
  isBroken: boolean;
  finish: Finish | undefined;
  readonly citations: Citation[];
  readonly places: TextPlaces;
}

/** Writes an answer for each piece. Finish, sources and usage come with the last. */
export class GeminiStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  readonly #framing: Framing;
  #model: string | undefined;
  #usage: UsageReport | undefined;
  #serviceTier: ServiceTier | undefined;
  readonly #kept = new Map<number, Kept>();
  readonly #parts: Pick<PartTerms, 'toClient' | 'isOurs' | 'nameOf'>;
  readonly #losses = new StreamLosses();
  #keptCharacters = 0;
  #sent = false;

  constructor(terms: EncodeStreamTerms, framing: Framing) {
    this.#terms = terms;
    this.#framing = framing;
    this.#model = terms.model;
    this.#parts = { toClient: true, isOurs: false, nameOf: (name) => originalToolName(name, terms.request.tools) };
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    const out: Buffer[] = [];
    for (const event of events) this.#write(event, out);
    return out;
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    const candidates = [...this.#kept].map(([index, kept]) => {
      const parts = [...thoughtParts(kept), ...this.#callParts(kept, true)];
      return {
        // Google's own SDK forgets an answer of which one content has no parts.
        content: { parts: parts.length === 0 ? [{ text: '' }] : parts, role: 'model' },
        ...(kept.finish === undefined ? {} : finishFields(kept.finish, kept.isBroken)),
        index,
        groundingMetadata: writeGrounding(kept.citations, kept.places),
      };
    });
    const head = this.#answer(candidates);
    const { usage, reasoningTokens } = this.#usage ?? {};
    const counts =
      usage === undefined
        ? ''
        : `,"usageMetadata":${withLiteral(
            { ...writeUsage(usage, reasoningTokens, this.#serviceTier), ...this.#losses.member('meridianLoss') },
            'costUsd',
            costUsdLiteral,
          )}`;
    const last = this.#frame(`${head.slice(0, -1)}${counts}}`);
    const end = this.#framing.end(false);
    return end === undefined ? [last] : [last, end];
  }

  failure(error: GatewayError): Buffer[] {
    return streamError(error, this.#terms.requestId, this.#framing, !this.#sent);
  }

  #write(event: StreamEvent, out: Buffer[]): void {
    switch (event.type) {
      case 'start':
        this.#model ??= event.model;
        break;
      case 'text': {
        const kept = this.#flush(event.choice, out);
        kept.places.add(event.text);
        this.#part(event.choice, { text: event.text }, out, event.logprobs);
        break;
      }
      case 'refusal':
        this.#flush(event.choice, out);
        this.#part(event.choice, { text: event.text }, out);
        break;
      case 'reasoning': {
        const kept = this.#flush(event.choice, out);
        kept.thought = event.text;
        break;
      }
      case 'reasoning_carrier':
        this.#carrier(event, out);
        break;
      case 'citation':
        this.#of(event.choice).citations.push(event.citation);
        break;
      case 'media':
      case 'foreign': {
        this.#flush(event.choice, out);
        const [part] = writeModelParts([event.part], {
          ...this.#parts,
          param: 'candidates',
          lost: (name, at) => this.#losses.add({ name, at }),
        });
        if (part !== undefined) this.#part(event.choice, part, out);
        break;
      }
      case 'tool_call_start': {
        const kept = this.#of(event.choice);
        this.#flushThought(event.choice, kept, out);
        kept.calls.push({ start: event, arguments: '', extent: new JsonExtent(), isBroken: false });
        break;
      }
      case 'tool_call_arguments': {
        const open = this.#of(event.choice).calls.find(({ start }) => start.call === event.call);
        if (open === undefined) break;
        this.#keptCharacters += event.text.length;
        if (this.#keptCharacters > MAX_KEPT_CHARACTERS) {
          throw new AnswerLimitError(`arguments of more than ${MAX_KEPT_CHARACTERS} characters`);
        }
        open.arguments += event.text;
        open.extent.push(event.text);
        break;
      }
      case 'finish':
        this.#of(event.choice).finish = event.finish;
        break;
      case 'usage':
        this.#usage = event.report;
        break;
      case 'service_tier':
        this.#serviceTier = event.serviceTier;
        break;
      case 'error':
      case 'end':
        break;
      default:
        event satisfies never;
    }
  }

  /** A signature that ends a block of thinking stands on its last piece; a signature alone stands by itself. */
  #carrier({ choice, carrier }: StreamEvent & { readonly type: 'reasoning_carrier' }, out: Buffer[]): void {
    const kept = this.#of(choice);
    const signature = signatureOf([carrier], true);
    if (kept.thought !== '') {
      this.#part(choice, signed({ text: kept.thought, thought: true }, signature), out);
      kept.thought = '';
      return;
    }
    this.#flush(choice, out);
    if (signature === undefined) return;
    this.#part(choice, { ...(carrier.dialect === DIALECT ? { text: '' } : { thought: true }), thoughtSignature: signature }, out);
  }

  #of(choice: number): Kept {
    const known = this.#kept.get(choice);
    if (known !== undefined) return known;
    const begun: Kept = { thought: '', calls: [], isBroken: false, finish: undefined, citations: [], places: new TextPlaces() };
    this.#kept.set(choice, begun);
    return begun;
  }

  /** Hands on what was kept before content of another kind, so that all stays in its order. */
  #flush(choice: number, out: Buffer[]): Kept {
    const kept = this.#of(choice);
    this.#flushThought(choice, kept, out);
    if (kept.calls.length > 0) for (const part of this.#callParts(kept, false)) this.#part(choice, part, out);
    return kept;
  }

  #flushThought(choice: number, kept: Kept, out: Buffer[]): void {
    for (const part of thoughtParts(kept)) this.#part(choice, part, out);
  }

  /** The calls that are whole, or all. A call whose arguments will never be an object is not shown, and told of by the finish. */
  #callParts(kept: Kept, all: boolean): JsonObject[] {
    const parts: JsonObject[] = [];
    const waiting: KeptCall[] = [];
    for (const call of kept.calls) {
      const { id, name, kind, carriers = [] } = call.start;
      const whole: ToolCallPart = { type: 'tool_call', id, name, arguments: call.arguments, kind, carriers, rest: NO_REST };
      // Each is read at most once before the end, whatever comes between its pieces.
      const isRead = all || (waiting.length === 0 && mayBeWhole(call));
      const written = isRead ? writeCall(whole, this.#parts) : undefined;
      if (written !== undefined) {
        parts.push(written);
        this.#keptCharacters -= call.arguments.length;
      } else if (all) kept.isBroken = true;
      else {
        call.isBroken ||= isRead;
        waiting.push(call);
      }
    }
    kept.calls = waiting;
    return parts;
  }

  #part(choice: number, part: JsonObject, out: Buffer[], logprobs?: unknown): void {
    const candidate = { content: { parts: [part], role: 'model' }, index: choice, logprobsResult: writeLogprobs(logprobs) };
    out.push(this.#frame(this.#answer([candidate])));
  }

  #answer(candidates: readonly JsonObject[]): string {
    return JSON.stringify({ candidates, modelVersion: this.#model, responseId: this.#terms.requestId });
  }

  #frame(json: string): Buffer {
    const framed = this.#framing.frame(Buffer.from(json), !this.#sent);
    this.#sent = true;
    return framed;
  }
}

function mayBeWhole(call: KeptCall): boolean {
  // Free text has no end that shows.
  return call.arguments !== '' && !call.isBroken && (call.start.kind === 'custom' || call.extent.isClosed);
}

function thoughtParts(kept: Kept): JsonObject[] {
  const { thought } = kept;
  kept.thought = '';
  return thought === '' ? [] : [{ text: thought, thought: true }];
}
