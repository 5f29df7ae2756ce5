/**
 * Thinking in messages: its text, and the opaque state that proves it, as `reasoning_details`. State of another dialect travels through
 * clients of this one in the same form, packed.
 */
import { packCarrier, unpackCarrier } from '../../canonical/carrier.ts';
import type { ReasoningCarrier, ReasoningPart } from '../../canonical/message.ts';
import { isObject, type JsonObject, number, rest, setMember, text } from '../json.ts';

const DIALECT = 'openai-chat';
/** Which vendor's proof a detail is; SDKs pass on formats that they do not know. */
const OUR_FORMAT = 'meridian-v1';

/** The text that a message, or a delta of one, shows; some providers send it under both names. */
export function shownReasoning(message: JsonObject): string {
  return text(message.reasoning_content) ?? text(message.reasoning) ?? '';
}

export interface ReadReasoning {
  /** Before the content. */
  readonly before: readonly ReasoningPart[];
  /** State that stood behind the content. */
  readonly after: readonly ReasoningPart[];
}

const NONE: ReadReasoning = { before: [], after: [] };

/** Of a message. `fromClient`: details may be ours, another dialect's state that comes back. */
export function readReasoning(message: JsonObject, fromClient: boolean): ReadReasoning {
  const shown = shownReasoning(message);
  const details: readonly unknown[] = Array.isArray(message.reasoning_details) ? message.reasoning_details : [];
  if (shown === '' && details.length === 0) return NONE;
  if (!fromClient) return { before: [{ type: 'reasoning', text: shown, carriers: ownCarriers(details) }], after: [] };
  const own: unknown[] = [];
  const before: ReasoningPart[] = [];
  const after: ReasoningPart[] = [];
  for (const detail of details) {
    const carried = readCarried(detail);
    if (carried === undefined) own.push(detail);
    else (carried.isAfter ? after : before).push(carried.part);
  }
  // The text of carried blocks is a part of what is shown, and mostly all of it.
  const carriedText = [...before, ...after].map((part) => part.text).join('');
  if (own.length > 0 || (shown !== '' && carriedText === ''))
    before.unshift({ type: 'reasoning', text: shown, carriers: ownCarriers(own) });
  return { before, after };
}

/** Details of a provider that speaks this dialect belong together. */
export function ownCarriers(details: readonly unknown[]): readonly ReasoningCarrier[] {
  return details.length === 0 ? [] : [{ dialect: DIALECT, value: details }];
}

interface Carried {
  readonly part: ReasoningPart;
  readonly isAfter: boolean;
}

function readCarried(detail: unknown): Carried | undefined {
  if (!isObject(detail)) return undefined;
  const carrier = unpackCarrier(text(detail.signature) ?? text(detail.data) ?? '');
  if (carrier === undefined) return undefined;
  const shown = detail.type === 'reasoning.text' ? (text(detail.text) ?? '') : '';
  return { part: { type: 'reasoning', text: shown, carriers: [carrier] }, isAfter: detail.after_content === true };
}

export interface DetailPlace {
  /** The text that the state proves; empty where it proves what stands before it. */
  readonly text: string;
  /** The place among the details of the message. */
  readonly index: number;
  /** It stands behind text or calls. */
  readonly isAfter: boolean;
}

/** For a client of ours: the details of one carrier. */
export function writeCarrier(carrier: ReasoningCarrier, { text: shown, index, isAfter }: DetailPlace): readonly unknown[] {
  if (carrier.dialect === DIALECT) return ownDetails(carrier);
  const packed = packCarrier(carrier);
  const place = { format: OUR_FORMAT, index, ...(isAfter ? { after_content: true } : {}) };
  return [
    shown === ''
      ? { type: 'reasoning.encrypted', data: packed, ...place }
      : { type: 'reasoning.text', text: shown, signature: packed, ...place },
  ];
}

/** For an upstream that speaks this dialect: the details that are its own. */
export function ownDetails({ dialect, value }: ReasoningCarrier): readonly unknown[] {
  if (dialect !== DIALECT) return [];
  return Array.isArray(value) ? value : [value];
}

/** A message that comes from a client of ours, for an upstream of the same dialect: without the state of other dialects. */
export function withoutCarried(details: readonly unknown[]): readonly unknown[] {
  return details.filter((detail) => readCarried(detail) === undefined);
}

/** The details of one choice hold no more text than this, in UTF-16 units. */
const MAX_DETAILS_CHARACTERS = 8 * 1024 * 1024;

/** Members of a detail whose pieces are put together. */
const GROWING = ['text', 'summary', 'data'] as const;

/**
 * Details as they come in the pieces of a stream, put together: pieces of one index and type are one detail. Each is one piece where the
 * provider counts none.
 */
export class DetailsInPieces {
  #details: JsonObject[] = [];
  #characters = 0;

  get isEmpty(): boolean {
    return this.#details.length === 0;
  }

  /** False where there are more than is put together. */
  add(piece: unknown): boolean {
    if (!isObject(piece)) return true;
    for (const member of GROWING) this.#characters += text(piece[member])?.length ?? 0;
    const last = this.#details.at(-1);
    if (last !== undefined && isSame(last, piece)) this.#details[this.#details.length - 1] = joined(last, piece);
    else this.#details.push(piece);
    return this.#characters <= MAX_DETAILS_CHARACTERS;
  }

  take(): readonly JsonObject[] {
    const taken = this.#details;
    this.#details = [];
    return taken;
  }
}

function isSame(a: JsonObject, b: JsonObject): boolean {
  const counted = number(a.index) !== undefined && a.index === b.index;
  // An encrypted block comes whole.
  return counted && a.type === b.type && a.type !== 'reasoning.encrypted';
}

function joined(before: JsonObject, piece: JsonObject): JsonObject {
  const whole: Record<string, unknown> = { ...before };
  for (const [key, value] of Object.entries(rest(piece, GROWING))) {
    if (value !== null && value !== undefined) setMember(whole, key, value);
  }
  for (const member of GROWING) {
    const more = text(piece[member]);
    if (more !== undefined) whole[member] = (text(before[member]) ?? '') + more;
  }
  return whole;
}
