/** Canonical events as a client's chat stream. */
import { argumentsAsInput } from '../../canonical/custom-tool.ts';
import type { StreamEvent } from '../../canonical/event.ts';
import { StreamLosses } from '../../canonical/loss.ts';
import type { UsageReport } from '../../canonical/response.ts';
import { answerId } from '../answer-id.ts';
import { AnswerLimitError } from '../answer-limit.ts';
import type { EncodeStreamTerms, StreamEncoder } from '../dialect.ts';
import { type JsonObject, NO_REST, withLiteral } from '../json.ts';
import { writeTier } from '../openai-tiers.ts';
import { hasAddress, writeCitation } from './citations.ts';
import { writeFinish } from './finish.ts';
import { writeAudio, writeImage } from './media.ts';
import { writeCarrier } from './reasoning.ts';
import { clientCall } from './tools.ts';
import { writeUsage } from './usage.ts';

const DIALECT = 'openai-chat';
const LOSS_MEMBER = 'meridian_loss';
/** Text that has to be kept: of a block of reasoning, for its proof; of a call whose input comes out of its arguments. In UTF-16 units. */
const MAX_KEPT_CHARACTERS = 8 * 1024 * 1024;

interface OpenChoice {
  /** Text of the block of reasoning that has begun. */
  reasoning: string;
  details: number;
  /** Text or a call has come. */
  hasContent: boolean;
}

/** A call of a custom tool; `held` are its arguments, where a function stands in for it. */
interface CustomCall {
  readonly choice: number;
  readonly call: number;
  readonly isRaised: boolean;
  held: string;
}

/** Writes chunks; the first of each choice has its role. */
export class ChatStreamEncoder implements StreamEncoder {
  readonly #terms: EncodeStreamTerms;
  #envelope: JsonObject = NO_REST;
  /** The JSON of a chunk up to its choices. */
  #head = '{';
  #isOurs = false;
  #usage: UsageReport | undefined;
  readonly #losses = new StreamLosses();
  #out: Buffer[] = [];
  readonly #choices = new Map<number, OpenChoice>();
  /** Choices whose role has been written. */
  readonly #begun = new Set<number>();
  readonly #customCalls = new Map<string, CustomCall>();

  constructor(terms: EncodeStreamTerms) {
    this.#terms = terms;
  }

  push(events: readonly StreamEvent[]): Buffer[] {
    for (const event of events) this.#write(event);
    return this.#taken();
  }

  end(costUsdLiteral: string | undefined): Buffer[] {
    this.#releaseCalls();
    if (this.#terms.wantsStreamUsage && this.#usage !== undefined) {
      const { usage, reasoningTokens } = this.#usage;
      const { usage: _, ...envelope } = this.#envelope;
      const head = JSON.stringify({ ...envelope, choices: [] }).slice(0, -1);
      const told = { ...writeUsage(usage, reasoningTokens), ...this.#losses.member(LOSS_MEMBER) };
      const counts = withLiteral(told, 'cost_usd', costUsdLiteral);
      this.#out.push(Buffer.from(`data: ${head},"usage":${counts}}\n\n`));
    }
    this.#out.push(Buffer.from('data: [DONE]\n\n'));
    return this.#taken();
  }

  #taken(): Buffer[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  #write(event: StreamEvent): void {
    switch (event.type) {
      case 'start':
        this.#start(event);
        break;
      case 'text':
        if (event.text !== '') this.#choice(event.choice).hasContent = true;
        this.#delta(event.choice, { content: event.text }, event.logprobs);
        break;
      case 'reasoning': {
        const choice = this.#choice(event.choice);
        choice.reasoning = kept(choice.reasoning, event.text);
        this.#delta(event.choice, { reasoning_content: event.text });
        break;
      }
      case 'reasoning_carrier': {
        const choice = this.#choice(event.choice);
        const place = { text: choice.reasoning, index: choice.details, isAfter: choice.hasContent };
        const details = writeCarrier(event.carrier, place);
        choice.reasoning = '';
        choice.details += details.length;
        this.#delta(event.choice, { reasoning_details: details });
        break;
      }
      case 'refusal':
        this.#delta(event.choice, { refusal: event.text });
        break;
      case 'citation':
        if (this.#isOurs || hasAddress(event.citation))
          this.#delta(event.choice, { annotations: [writeCitation(event.citation, this.#isOurs)] });
        else this.#losses.add({ name: 'citations' });
        break;
      case 'media': {
        const { part } = event;
        const others = this.#isOurs ? part.rest : NO_REST;
        const media = part.type === 'image' ? { images: [{ ...others, ...writeImage(part) }] } : { audio: writeAudio(part, this.#isOurs) };
        this.#delta(event.choice, media);
        break;
      }
      case 'tool_call_start':
        this.#startCall(event);
        break;
      case 'tool_call_arguments':
        this.#arguments(event);
        break;
      case 'finish':
        this.#releaseCalls();
        this.#chunk({ index: event.choice, delta: {}, logprobs: null, finish_reason: writeFinish(event.finish) });
        break;
      case 'service_tier':
        this.#setEnvelope({ ...this.#envelope, service_tier: writeTier(event.serviceTier) });
        break;
      case 'usage':
        this.#usage = event.report;
        break;
      case 'foreign':
        this.#losses.add({ name: 'unknown_part', at: event.part.type });
        break;
      case 'error':
      case 'end':
        break;
      default:
        event satisfies never;
    }
  }

  #start(event: StreamEvent & { readonly type: 'start' }): void {
    const { requestId, createdSeconds, model, request, wantsStreamUsage } = this.#terms;
    this.#isOurs = event.dialect === DIALECT;
    this.#setEnvelope({
      ...(this.#isOurs ? event.rest : NO_REST),
      id: this.#isOurs && event.id !== '' ? event.id : answerId('chatcmpl-', requestId),
      object: 'chat.completion.chunk',
      created: event.createdSeconds ?? createdSeconds,
      model: model ?? event.model ?? request.model,
      ...(wantsStreamUsage ? { usage: null } : {}),
    });
    this.#delta(0, {});
  }

  #setEnvelope(envelope: JsonObject): void {
    this.#envelope = envelope;
    this.#head = `${JSON.stringify(envelope).slice(0, -1)},`;
  }

  #choice(index: number): OpenChoice {
    let choice = this.#choices.get(index);
    if (choice === undefined) {
      choice = { reasoning: '', details: 0, hasContent: false };
      this.#choices.set(index, choice);
    }
    return choice;
  }

  #startCall(event: StreamEvent & { readonly type: 'tool_call_start' }): void {
    this.#choice(event.choice).hasContent = true;
    const { choice, call: index } = event;
    const { head, name, kind, isRaised } = clientCall(event, this.#terms.request.tools, this.#isOurs);
    if (kind === 'custom') this.#customCalls.set(`${choice}:${index}`, { choice, call: index, isRaised, held: '' });
    const called = kind === 'custom' ? { custom: { name, input: '' } } : { function: { name, arguments: '' } };
    this.#delta(choice, { tool_calls: [{ ...head, index, type: kind, ...called }] });
  }

  #arguments({ choice, call, text }: StreamEvent & { readonly type: 'tool_call_arguments' }): void {
    const custom = this.#customCalls.get(`${choice}:${call}`);
    if (custom?.isRaised) {
      custom.held = kept(custom.held, text);
      return;
    }
    const called = custom === undefined ? { function: { arguments: text } } : { custom: { input: text } };
    this.#delta(choice, { tool_calls: [{ index: call, ...called }] });
  }

  /** The arguments of a function that stands in for a custom tool are whole at the end only, and with them its input. */
  #releaseCalls(): void {
    for (const [key, { choice, call, isRaised, held }] of this.#customCalls) {
      this.#customCalls.delete(key);
      if (isRaised) this.#delta(choice, { tool_calls: [{ index: call, custom: { input: argumentsAsInput(held) } }] });
    }
  }

  #delta(choice: number, delta: JsonObject, logprobs?: unknown): void {
    const isFirst = !this.#begun.has(choice);
    this.#begun.add(choice);
    this.#chunk({
      index: choice,
      delta: isFirst ? { role: 'assistant', ...delta } : delta,
      logprobs: logprobs ?? null,
      finish_reason: null,
    });
  }

  #chunk(choice: JsonObject): void {
    this.#out.push(Buffer.from(`data: ${this.#head}"choices":[${JSON.stringify(choice)}]${this.#newLosses()}}\n\n`));
  }

  /** As a further member of a chunk: without a usage chunk at the end, the next one has to tell. */
  #newLosses(): string {
    if (this.#terms.wantsStreamUsage) return '';
    const members = JSON.stringify(this.#losses.newMember(LOSS_MEMBER)).slice(1, -1);
    return members === '' ? '' : `,${members}`;
  }
}

function kept(text: string, more: string): string {
  if (text.length + more.length > MAX_KEPT_CHARACTERS) {
    throw new AnswerLimitError(`more than ${MAX_KEPT_CHARACTERS} characters to be kept`);
  }
  return text + more;
}
