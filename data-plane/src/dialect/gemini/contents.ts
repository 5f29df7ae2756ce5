/**
 * The messages of a conversation as an upstream's contents: turns that alternate. Results stand behind the turn that called for them, in
 * the order of its calls, when they come here (`canonical/answered-calls.ts`).
 */
import type { Loss } from '../../canonical/loss.ts';
import type { Message, Part, ToolResultPart } from '../../canonical/message.ts';
import { boundedToolName } from '../../canonical/tool-name.ts';
import { invalid, isObject, type JsonObject, NO_REST } from '../json.ts';
import { resolutionOf, writeMedia } from './media.ts';
import { writeModelParts } from './message.ts';
import type { ModelWays } from './models.ts';
import { DIALECT } from './schema.ts';
import { argumentsObject } from './tools.ts';

/** What Google's validator takes for a signature that it does not have: for calls of other models, and of clients that kept none. */
const NO_SIGNATURE = 'skip_thought_signature_validator';

export interface Conversation {
  readonly systemInstruction: JsonObject | undefined;
  readonly contents: readonly JsonObject[];
}

/** Throws GatewayError 400 for media that cannot be sent, and where nothing is said at all. */
export function writeConversation(
  messages: readonly Message[],
  isOurs: boolean,
  ways: ModelWays,
  lost: (loss: Loss) => void,
): Conversation {
  return new Writer(isOurs, ways, lost).write(messages);
}

class Writer {
  readonly #isOurs: boolean;
  readonly #ways: ModelWays;
  readonly #lost: (loss: Loss) => void;
  readonly #contents: { readonly role: 'user' | 'model'; readonly parts: JsonObject[] }[] = [];
  readonly #system: JsonObject[] = [];
  /** The function of each call that was made, by its id. */
  readonly #names = new Map<string, string>();
  /** What results hold beside text, which follows them. */
  #media: JsonObject[] = [];

  constructor(isOurs: boolean, ways: ModelWays, lost: (loss: Loss) => void) {
    this.#isOurs = isOurs;
    this.#ways = ways;
    this.#lost = lost;
  }

  write(messages: readonly Message[]): Conversation {
    for (const [index, message] of messages.entries()) this.#message(message, `messages[${index}]`);
    this.#addMedia();
    if (this.#contents.at(-1)?.role === 'model') this.#lost({ name: 'prefill' });
    // A request must have a content: what stands for all of the conversation is said by the user then.
    if (this.#contents.length === 0 && this.#system.length === 0) {
      throw invalid("The parameter 'messages' holds nothing that this model can be shown.", 'messages');
    }
    if (this.#contents.length === 0) return { systemInstruction: undefined, contents: [{ role: 'user', parts: this.#system }] };
    return { systemInstruction: this.#system.length === 0 ? undefined : { parts: this.#system }, contents: this.#contents };
  }

  #message({ role, parts, name }: Message, param: string): void {
    if (name !== undefined && name !== '' && role !== 'tool') this.#lost({ name: 'message_name', at: param });
    for (const part of parts) {
      if ('cacheControl' in part && part.cacheControl !== undefined) this.#lost({ name: 'cache_control' });
    }
    switch (role) {
      case 'system':
      case 'developer':
        for (const part of parts) this.#system.push(...this.#userPart(part, param));
        break;
      case 'assistant':
        this.#assistant(parts, param);
        break;
      case 'user':
      case 'tool':
        for (const part of parts) {
          if (part.type === 'tool_result') this.#add('user', [this.#response(part, param)]);
          else {
            this.#addMedia();
            this.#add('user', this.#userPart(part, param));
          }
        }
        break;
      default:
        role satisfies never;
    }
  }

  #add(role: 'user' | 'model', parts: readonly JsonObject[]): void {
    if (parts.length === 0) return;
    const last = this.#contents.at(-1);
    if (last?.role === role) last.parts.push(...parts);
    else this.#contents.push({ role, parts: [...parts] });
  }

  #addMedia(): void {
    this.#add('user', this.#media);
    this.#media = [];
  }

  #assistant(parts: readonly Part[], param: string): void {
    this.#addMedia();
    const written = writeModelParts(
      parts.map((part) => this.#whole(part)),
      {
        toClient: false,
        isOurs: this.#isOurs,
        nameOf: (name) => this.#nameOf(name),
        param,
        lost: (name, type) => this.#lost(name === 'unknown_part' ? { name, at: `${param}:${type}` } : { name }),
      },
    );
    const calls = parts.filter((part) => part.type === 'tool_call');
    for (const { id, name } of calls) this.#names.set(id, name);
    if (this.#ways.wantsSignatures) signFirstCall(written);
    this.#add('model', written);
  }

  /** Arguments that a model has written badly, or a limit has cut off, are told as their text. */
  #whole(part: Part): Part {
    if (part.type !== 'tool_call' || argumentsObject(part) !== undefined) return part;
    this.#lost({ name: 'call_arguments', at: part.name });
    return { ...part, arguments: JSON.stringify({ arguments: part.arguments }) };
  }

  #nameOf(name: string): string {
    return this.#isOurs ? name : boundedToolName(name);
  }

  #response(result: ToolResultPart, param: string): JsonObject {
    const inline: JsonObject[] = [];
    let shown = '';
    for (const part of result.parts) {
      switch (part.type) {
        case 'text':
        case 'refusal':
          shown += part.text;
          break;
        case 'image':
        case 'audio':
        case 'video':
        case 'file': {
          const written = writeMedia(part, this.#isOurs, param);
          const detail = part.type === 'image' && !this.#isOurs ? (part.detail ?? 'auto') : 'auto';
          if (detail !== 'auto') this.#lost({ name: 'image_detail', at: param });
          if (this.#ways.takesMediaInResults && written.inlineData !== undefined) inline.push({ inlineData: written.inlineData });
          else this.#media.push(written);
          break;
        }
        default:
          this.#lost({ name: 'unknown_part', at: `${param}:${part.type}` });
      }
    }
    const { callId } = result;
    const functionResponse = {
      ...(callId === '' ? {} : { id: callId }),
      name: this.#nameOf(this.#names.get(callId) ?? result.name ?? ''),
      response: responseObject(result, shown),
      ...(inline.length === 0 ? {} : { parts: inline }),
    };
    return { functionResponse };
  }

  #userPart(part: Part, param: string): readonly JsonObject[] {
    switch (part.type) {
      case 'text':
        return part.text === '' ? [] : [{ ...(this.#isOurs ? part.rest : NO_REST), text: part.text }];
      case 'refusal':
        return part.text === '' ? [] : [{ text: part.text }];
      case 'image':
        return [{ ...this.#resolution(part.detail, param), ...writeMedia(part, this.#isOurs, param) }];
      case 'file':
        if (part.name !== undefined && !this.#isOurs) this.#lost({ name: 'file_name' });
        return [writeMedia(part, this.#isOurs, param)];
      case 'audio':
      case 'video':
        return [writeMedia(part, this.#isOurs, param)];
      case 'foreign':
        if (part.dialect === DIALECT) return [part.value];
        break;
      case 'reasoning':
      case 'tool_call':
      case 'tool_result':
        break;
      default:
        part satisfies never;
    }
    this.#lost({ name: 'unknown_part', at: `${param}:${part.type}` });
    return [];
  }

  #resolution(detail: string | undefined, param: string): JsonObject {
    if (this.#isOurs || detail === undefined || detail === 'auto') return NO_REST;
    const mediaResolution = this.#ways.takesResolution ? resolutionOf(detail) : undefined;
    if (mediaResolution !== undefined) return { mediaResolution };
    this.#lost({ name: 'image_detail', at: param });
    return NO_REST;
  }
}

/** Of parallel calls only the first is signed; a turn whose first call has no signature is refused. */
function signFirstCall(parts: JsonObject[]): void {
  const first = parts.findIndex((part) => part.functionCall !== undefined);
  const call = parts[first];
  if (call !== undefined && call.thoughtSignature === undefined) parts[first] = { ...call, thoughtSignature: NO_SIGNATURE };
}

/** A result must be an object: the client's own, what its text says, or the text under Google's name for it. */
function responseObject({ json, isError }: ToolResultPart, shown: string): JsonObject {
  if (json !== undefined) return json;
  if (isError) return { error: shown };
  if (shown.startsWith('{')) {
    try {
      const value: unknown = JSON.parse(shown);
      if (isObject(value)) return value;
    } catch {
      // A text that only begins like an object.
    }
  }
  return { output: shown };
}
