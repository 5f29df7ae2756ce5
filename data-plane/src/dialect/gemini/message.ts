/** Contents and their parts, to and from the canonical language. */
import { packCallId, unpackCallId } from '../../canonical/call-id.ts';
import { packCarrier, unpackCarrier } from '../../canonical/carrier.ts';
import type { Message, Part, ReasoningCarrier, ReasoningPart, TextPart, ToolCallPart, ToolResultPart } from '../../canonical/message.ts';
import { invalid, isObject, type JsonObject, NO_REST, rest, text } from '../json.ts';
import { type MediaPart, readFileData, readInlineData, writeAnswerMedia, writeMedia } from './media.ts';
import { CallPieces } from './partial-calls.ts';
import { fieldsOf, listOf } from './proto-json.ts';
import { DIALECT } from './schema.ts';
import { argumentsObject, readCall } from './tools.ts';

/** A call that waits for its result. */
interface OpenCall {
  readonly id: string;
  readonly name: string;
}

/** The calls of a turn: results take one each. Ids may stand twice, and are looked for in the order of the calls. */
class OpenCalls {
  readonly #byId = new Map<string, OpenCall[]>();
  readonly #byName = new Map<string, OpenCall[]>();
  readonly #taken = new Set<OpenCall>();

  constructor(calls: readonly OpenCall[]) {
    // Each list has the first call last, where it is taken from.
    for (const call of calls.toReversed()) {
      for (const [lists, key] of [
        [this.#byId, call.id],
        [this.#byName, call.name],
      ] as const) {
        const list = lists.get(key);
        if (list === undefined) lists.set(key, [call]);
        else list.push(call);
      }
    }
  }

  take(id: string, name: string): OpenCall | undefined {
    const call = this.#open(this.#byId.get(id)) ?? this.#open(this.#byName.get(name));
    if (call !== undefined) this.#taken.add(call);
    return call;
  }

  #open(list: OpenCall[] = []): OpenCall | undefined {
    for (let call = list.pop(); call !== undefined; call = list.pop()) if (!this.#taken.has(call)) return call;
    return undefined;
  }
}

/** Throws GatewayError 400: `systemInstruction` is one content, whose role says nothing. */
export function readSystem(value: unknown): Message | undefined {
  if (value === undefined || value === null) return undefined;
  const parts = typeof value === 'string' ? [plainText(value)] : listOf(fieldsOf(value).parts).map((part) => readPart(part, noCalls));
  return parts.length === 0 ? undefined : { role: 'system', parts, name: undefined, rest: NO_REST };
}

function noCalls(): string {
  throw invalid('A system instruction calls no functions.', 'systemInstruction');
}

/**
 * Contents as messages. Neighbours of one side are one message: clients keep a streamed answer in pieces. Throws GatewayError 400 for a
 * result that no call can be found for.
 */
export function readContents(value: unknown): readonly Message[] {
  const messages: Message[] = [];
  let open = new OpenCalls([]);
  for (const { isModel, start, contents } of sides(listOf(value))) {
    const param = `contents[${start}]`;
    if (isModel) {
      const read = readModelParts(contents, (place) => `call_${start}_${place}`);
      open = new OpenCalls(read.filter((part) => part.type === 'tool_call').map(({ id, name }) => ({ id, name })));
      if (read.length > 0) messages.push({ role: 'assistant', parts: read, name: undefined, rest: NO_REST });
      continue;
    }
    const parts = contents.map((part) =>
      fieldsOf(part).functionResponse === undefined ? readPart(part, noCalls) : readResult(part, open, param),
    );
    const onlyResults = parts.length > 0 && parts.every((part) => part.type === 'tool_result');
    if (parts.length > 0) messages.push({ role: onlyResults ? 'tool' : 'user', parts, name: undefined, rest: NO_REST });
  }
  return messages;
}

interface Side {
  readonly isModel: boolean;
  /** The place of its first content. */
  readonly start: number;
  readonly contents: unknown[];
}

function sides(contents: readonly unknown[]): readonly Side[] {
  const found: Side[] = [];
  for (const [index, content] of contents.entries()) {
    const param = `contents[${index}]`;
    if (!isObject(content)) throw invalid(`The parameter '${param}' must be an object.`, param);
    const { role, parts } = fieldsOf(content);
    if (role !== undefined && role !== null && role !== '' && role !== 'user' && role !== 'model' && role !== 'function') {
      throw invalid(`The parameter '${param}.role' must be user or model.`, `${param}.role`);
    }
    const isModel = role === 'model';
    const last = found.at(-1);
    if (last?.isModel === isModel) last.contents.push(...listOf(parts));
    else found.push({ isModel, start: index, contents: [...listOf(parts)] });
  }
  return found;
}

/** The parts of an answer, or of one in the history. `mintId` names the calls that have no id, by their place. */
export function readModelParts(values: readonly unknown[], mintId: (place: number, call: JsonObject) => string): readonly Part[] {
  const parts: Part[] = [];
  let calls = 0;
  const pieces = new CallPieces();
  for (const value of [...values.flatMap((one) => pieces.take(one)), ...pieces.end()]) {
    const part = readPart(value, (call) => mintId(calls++, call));
    const carriers = KEEPS_SIGNATURE.has(part.type) ? [] : signaturesOf(value);
    const before = parts.at(-1);
    if (part.type === 'reasoning' && before?.type === 'reasoning' && before.text !== '' && before.carriers.length === 0) {
      parts[parts.length - 1] = { ...part, text: before.text + part.text };
    } else if (isPlain(part) && before !== undefined && isPlain(before)) {
      parts[parts.length - 1] = { ...part, text: before.text + part.text };
    } else if (part.type !== 'text' || part.text !== '') parts.push(part);
    if (carriers.length > 0) parts.push({ type: 'reasoning', text: '', carriers });
  }
  return parts;
}

/** Parts that have a place for what their issuer wants back; behind any other it is a part of its own. */
const KEEPS_SIGNATURE: ReadonlySet<Part['type']> = new Set(['reasoning', 'tool_call', 'foreign']);

function isPlain(part: Part): part is TextPart {
  return part.type === 'text' && part.rest === NO_REST;
}

/** The signature of a part: Gemini's own, or another dialect's state that came back through a client of this one. */
export function signaturesOf(part: unknown): readonly ReasoningCarrier[] {
  const { thoughtSignature } = fieldsOf(part);
  if (typeof thoughtSignature !== 'string' || thoughtSignature === '') return [];
  return [unpackCarrier(thoughtSignature) ?? { dialect: DIALECT, value: thoughtSignature }];
}

const PART_KEYS = ['text', 'thought', 'thoughtSignature', 'inlineData', 'fileData', 'functionCall'];

/** One part; `mintId` is asked for the id of a call without one. */
export function readPart(value: unknown, mintId: (call: JsonObject) => string): Part {
  if (typeof value === 'string') return plainText(value);
  if (!isObject(value)) return { type: 'foreign', dialect: DIALECT, value: { value } };
  const part = fieldsOf(value);
  const others = rest(part, PART_KEYS);
  if (part.thought === true && part.inlineData === undefined) {
    return { type: 'reasoning', text: text(part.text) ?? '', carriers: signaturesOf(part) };
  }
  if (typeof part.text === 'string') return { type: 'text', text: part.text, citations: [], rest: others };
  // A picture that the model drew on the way to its answer is none of the answer.
  if (isObject(part.inlineData) && part.thought !== true) return readInlineData(part.inlineData, others);
  if (isObject(part.fileData)) return readFileData(part.fileData, others);
  if (isObject(part.functionCall)) {
    const call = fieldsOf(part.functionCall);
    const told = text(call.id) ?? '';
    const { id, carriers } = told === '' ? { id: mintId(call), carriers: [] } : unpackCallId(told);
    return readCall(call, id, [...signaturesOf(part), ...carriers], others);
  }
  const signature = signaturesOf(part);
  if (signature.length > 0 && Object.keys(part).length === 1) return { type: 'reasoning', text: '', carriers: signature };
  return { type: 'foreign', dialect: DIALECT, value };
}

function plainText(value: string): TextPart {
  return { type: 'text', text: value, citations: [], rest: NO_REST };
}

/**
 * A result, with the id of its call: the one it names, else the first of its function that is still open, since results come in the order
 * of their calls. Takes that call from `open`.
 */
function readResult(value: unknown, open: OpenCalls, param: string): ToolResultPart {
  const part = fieldsOf(value);
  const response = fieldsOf(part.functionResponse);
  const name = text(response.name) ?? '';
  const told = text(response.id) ?? '';
  const id = told === '' ? '' : unpackCallId(told).id;
  const call = open.take(id, name);
  if (call === undefined) {
    throw invalid(
      `There is no function call that the response of '${name.slice(0, 64)}' in '${param}' answers: the number of function response parts must equal that of function call parts.`,
      param,
    );
  }
  const json = isObject(response.response) ? response.response : {};
  const { isError, shown } = readOutput(json);
  const media = listOf(response.parts).map((inner) => readPart(inner, noCalls));
  return {
    type: 'tool_result',
    callId: call.id,
    parts: shown === '' ? media : [plainText(shown), ...media],
    isError,
    name: name === '' ? call.name : name,
    json,
  };
}

/** Members by which the SDKs wrap a result that is no object. */
const WRAPPERS = ['output', 'result', 'return_value'];

function readOutput(json: JsonObject): { readonly isError: boolean; readonly shown: string } {
  const entries = Object.entries(json);
  const [only] = entries;
  if (only === undefined) return { isError: false, shown: '' };
  if (entries.length === 1) {
    const [key, value] = only;
    if (key === 'error') return { isError: true, shown: typeof value === 'string' ? value : JSON.stringify(value) };
    if (WRAPPERS.includes(key) && typeof value === 'string') return { isError: false, shown: value };
  }
  return { isError: false, shown: JSON.stringify(json) };
}

/** What a part of an assistant's turn is written for. */
export interface PartTerms {
  /** Our client, which keeps what another dialect wants back; else an upstream, which is sent its own only. */
  readonly toClient: boolean;
  /** Other members of the parts are of this dialect. */
  readonly isOurs: boolean;
  /** A tool's name as this side knows it. */
  readonly nameOf: (name: string) => string;
  /** Where it stands in the request. */
  readonly param: string;
  readonly lost: (kind: 'reasoning' | 'citations' | 'unknown_part', type: string) => void;
}

/** The parts of an assistant's turn. Throws GatewayError 400 for media that cannot be sent. */
export function writeModelParts(parts: readonly Part[], terms: PartTerms): JsonObject[] {
  const written: JsonObject[] = [];
  const isOwnTurn = parts.some(isSigned);
  for (const part of parts) {
    switch (part.type) {
      case 'text':
        if (part.citations.length > 0 && !terms.toClient) terms.lost('citations', 'text');
        if (part.text !== '') written.push({ ...(terms.isOurs ? part.rest : NO_REST), text: part.text });
        break;
      case 'refusal':
        if (part.text !== '') written.push({ text: part.text });
        break;
      case 'reasoning':
        writeReasoning(part, isOwnTurn, terms, written);
        break;
      case 'tool_call': {
        const call = writeCall(part, terms);
        if (call !== undefined) written.push(call);
        break;
      }
      case 'audio':
      case 'image':
      case 'video':
      case 'file': {
        const medium = writeMedium(part, terms);
        if (medium === undefined) terms.lost('unknown_part', part.type);
        else written.push(medium);
        break;
      }
      case 'foreign':
        if (part.dialect === DIALECT) written.push(part.value);
        else terms.lost('unknown_part', part.type);
        break;
      case 'tool_result':
        terms.lost('unknown_part', part.type);
        break;
      default:
        part satisfies never;
    }
  }
  return written;
}

function writeMedium(part: MediaPart, terms: PartTerms): JsonObject | undefined {
  // Speech that its provider keeps is known by its words.
  if (part.type === 'audio' && part.source.from === 'id' && part.transcript !== undefined) return { text: part.transcript };
  return terms.toClient ? writeAnswerMedia(part) : writeMedia(part, terms.isOurs, terms.param);
}

function isSigned(part: Part): boolean {
  return 'carriers' in part && part.carriers?.some(({ dialect }) => dialect === DIALECT) === true;
}

/**
 * Thinking, or a signature alone, which belongs to what stands before it. `isOwnTurn`: a part of the turn is signed by this provider, so
 * that thinking beside it is its own.
 */
function writeReasoning({ text: thought, carriers }: ReasoningPart, isOwnTurn: boolean, terms: PartTerms, written: JsonObject[]): void {
  const signature = signatureOf(carriers, terms.toClient);
  if (thought !== '') {
    const goes = terms.toClient || signature !== undefined || ((terms.isOurs || isOwnTurn) && carriers.length === 0);
    if (goes) written.push(signed({ text: thought, thought: true }, signature));
    else terms.lost('reasoning', 'reasoning');
    return;
  }
  if (signature === undefined) return;
  const before = written.at(-1);
  const isOwn = carriers.some((carrier) => carrier.dialect === DIALECT);
  if (!isOwn) written.push({ thought: true, thoughtSignature: signature });
  else if (before !== undefined && before.thoughtSignature === undefined && (before.text !== undefined || before.inlineData !== undefined))
    written[written.length - 1] = { ...before, thoughtSignature: signature };
  else written.push({ text: '', thoughtSignature: signature });
}

/** Of the carriers the one that a part has a place for: Gemini's own, else, for a client, another dialect's. */
export function signatureOf(carriers: readonly ReasoningCarrier[], toClient: boolean): string | undefined {
  const own = carriers.find((carrier) => carrier.dialect === DIALECT);
  if (own !== undefined) return typeof own.value === 'string' ? own.value : undefined;
  const [first] = carriers;
  return first === undefined || !toClient ? undefined : packCarrier(first);
}

export function signed(part: JsonObject, signature: string | undefined): JsonObject {
  return signature === undefined ? part : { ...part, thoughtSignature: signature };
}

/** Undefined for a call whose arguments are no object. */
export function writeCall(call: ToolCallPart, terms: Pick<PartTerms, 'toClient' | 'isOurs' | 'nameOf'>): JsonObject | undefined {
  const args = argumentsObject(call);
  if (args === undefined) return undefined;
  const carriers = call.carriers ?? [];
  const own = carriers.filter((carrier) => carrier.dialect === DIALECT);
  const foreign = carriers.filter((carrier) => carrier.dialect !== DIALECT);
  const id = terms.toClient ? packCallId('', { id: call.id, carriers: foreign }) : call.id;
  const functionCall = { ...(id === '' ? {} : { id }), name: terms.nameOf(call.name), args };
  return signed({ ...(terms.isOurs ? call.rest : NO_REST), functionCall }, signatureOf(own, false));
}
