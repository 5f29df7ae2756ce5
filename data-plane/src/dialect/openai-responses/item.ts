/** Items of an answer, as clients read them. */
import { packCarrier } from '../../canonical/carrier.ts';
import type { ImagePart, ReasoningCarrier } from '../../canonical/message.ts';
import { isObject, type JsonObject } from '../json.ts';

const DIALECT = 'openai-responses';

export type ItemStatus = 'in_progress' | 'completed' | 'incomplete';

export function messageItem(id: string, status: ItemStatus, content: readonly JsonObject[]): JsonObject {
  return { id, type: 'message', status, content, role: 'assistant' };
}

export function outputText(text: string, annotations: readonly JsonObject[], logprobs: readonly unknown[]): JsonObject {
  return { type: 'output_text', annotations, logprobs, text };
}

/** `encrypted`: the opaque state, where the client asked for it. */
export function reasoningItem(id: string, summary: string, encrypted: string | undefined): JsonObject {
  return {
    id,
    type: 'reasoning',
    summary: summary === '' ? [] : [{ type: 'summary_text', text: summary }],
    ...(encrypted === undefined ? {} : { encrypted_content: encrypted }),
  };
}

/** Opaque state as one string: of this dialect as its issuer wrote it, of any other so that it is known again. */
export function encryptedContent(carrier: ReasoningCarrier): string {
  const { dialect, value } = carrier;
  if (dialect === DIALECT && isObject(value) && typeof value.encrypted_content === 'string') return value.encrypted_content;
  return packCarrier(carrier);
}

/** A picture that a model has made; undefined for one that is not given as data. */
export function imageItem(id: string, { source }: ImagePart): JsonObject | undefined {
  if (source.from !== 'base64') return undefined;
  // PNG is what such an item has where it does not say.
  const format = /^image\/(jpeg|webp)$/.exec(source.mediaType)?.[1];
  return {
    id,
    type: 'image_generation_call',
    status: 'completed',
    result: source.data,
    ...(format === undefined ? {} : { output_format: format }),
  };
}

/** Log probabilities in the form of both of OpenAI's protocols; empty where there are none. */
export function logprobsOf(logprobs: unknown): readonly JsonObject[] {
  const content = isObject(logprobs) ? logprobs.content : undefined;
  if (!Array.isArray(content)) return [];
  return content.filter(isObject).map(({ token, logprob, bytes, top_logprobs: top }) => ({
    token,
    logprob,
    bytes: bytes ?? [],
    top_logprobs: Array.isArray(top) ? top.filter(isObject).map((one) => ({ ...one, bytes: one.bytes ?? [] })) : [],
  }));
}
