/** The messages of a conversation as an upstream's contents: turns that alternate, and each call answered in the turn after it. */
import type { Loss } from '../../canonical/loss.ts';
import type { Message, Part, ToolCallPart, ToolResultPart } from '../../canonical/message.ts';
import { invalid, isObject, type JsonObject, NO_REST } from '../json.ts';
import { resolutionOf, writeMedia } from './media.ts';
import { type PartTerms, writeModelParts } from './message.ts';
import type { ModelWays } from './models.ts';

/** What Google's validator takes for a signature that it does not have: for calls of other models, and of clients that kept none. */
const NO_SIGNATURE = 'skip_thought_signature_validator';

export interface Conversation {
  readonly systemInstruction: JsonObject | undefined;
  readonly contents: readonly JsonObject[];
}

/** Throws GatewayError 400 where calls and results do not belong together, and for media that cannot be sent. */
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
  /** Results that came, by the id of their call, in their order. */
  readonly #results = new Map<string, ToolResultPart[]>();

  constructor(isOurs: boolean, ways: ModelWays, lost: (loss: Loss) => void) {
    this.#isOurs = isOurs;
    this.#ways = ways;
    this.#lost = lost;
  }

  write(messages: readonly Message[]): Conversation {
    for (const { parts } of messages) {
      for (const part of parts) {
        if (part.type !== 'tool_result') continue;
        const list = this.#results.get(part.callId);
        if (list === undefined) this.#results.set(part.callId, [part]);
        else list.push(part);
      }
    }
    for (const [index, message] of messages.entries()) this.#message(message, `messages[${index}]`);
    const [orphan] = [...this.#results.values()].flat();
    if (orphan !== undefined)
      throw invalid(`There is no tool call '${orphan.callId.slice(0, 128)}' that a tool result answers.`, 'messages');
    if (this.#contents.at(-1)?.role === 'model') this.#lost({ name: 'prefill' });
    // A request must have a content: what stands for all of the conversation is said by the user then.
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
        this.#add(
          'user',
          parts.flatMap((part) => this.#userPart(part, param)),
        );
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

  #assistant(parts: readonly Part[], param: string): void {
    const terms: PartTerms = {
      toClient: false,
      isOurs: this.#isOurs,
      param,
      lost: (name, type) => this.#lost(name === 'unknown_part' ? { name, at: `${param}:${type}` } : { name }),
    };
    const written = writeModelParts(parts, terms);
    const calls = parts.filter((part) => part.type === 'tool_call');
    if (written.filter((part) => part.functionCall !== undefined).length < calls.length) {
      throw invalid(`The arguments of a tool call in '${param}' are not a JSON object.`, param);
    }
    if (this.#ways.wantsSignatures) signFirstCall(written);
    this.#add('model', written);
    if (calls.length > 0) this.#answers(calls, param);
  }

  /** All results of the calls of one turn stand in the turn after it, in the order of the calls. */
  #answers(calls: readonly ToolCallPart[], param: string): void {
    const responses: JsonObject[] = [];
    const media: JsonObject[] = [];
    for (const call of calls) {
      const list = this.#results.get(call.id);
      const result = list?.shift();
      if (result === undefined) {
        throw invalid(`The tool call '${call.id.slice(0, 128)}' in '${param}' has no tool result.`, param);
      }
      if (list?.length === 0) this.#results.delete(call.id);
      responses.push(this.#response(call, result, media, param));
    }
    this.#add('user', [...responses, ...media]);
  }

  #response(call: ToolCallPart, result: ToolResultPart, media: JsonObject[], param: string): JsonObject {
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
          if (this.#ways.takesMediaInResults && written.inlineData !== undefined) inline.push({ inlineData: written.inlineData });
          else media.push(written);
          break;
        }
        default:
          this.#lost({ name: 'unknown_part', at: `${param}:${part.type}` });
      }
    }
    const functionResponse = {
      ...(call.id === '' ? {} : { id: call.id }),
      name: call.name,
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
      // Written beside their calls.
      case 'tool_result':
        return [];
      case 'foreign':
        if (part.dialect === 'gemini') return [part.value];
        break;
      case 'reasoning':
      case 'tool_call':
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
