// Reads the contents of a Gemini request: their parts, the pairs of calls and responses, and the signatures of calls.

import { hash } from 'node:crypto';
import { isObject, type JsonObject, type JsonValue } from '../json-value.ts';
import { emptyMessage, type Message, type PastCall } from '../model-request.ts';
import { isSigned } from '../signature.ts';
import { refused } from './error.ts';
import type { Traits } from './models.ts';

/** Values that Google takes in place of a signature, for calls that another model made. */
const WITHOUT_SIGNATURE = new Set(['skip_thought_signature_validator', 'context_engineering_is_the_way_to_go']);
/** The SHA-256 of a signature that Google did issue, which LangChain sends where it has kept none. */
const LANGCHAIN_SIGNATURE_SHA256 = '95961e890e24085525fd6971146dd82dc41b406e594bb3f048b599dfe3f44eeb';

interface Turn {
  role: string;
  parts: JsonObject[];
}

function readTurn(value: JsonValue, index: number): Turn {
  const at = `contents[${index}]`;
  if (!isObject(value))
    throw refused(`Invalid value at '${at}' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content), ${JSON.stringify(value)}`);
  const role = value.role ?? 'user';
  if (role !== 'user' && role !== 'model' && role !== 'function') throw refused('Please use a valid role: user, model.');
  if (!Array.isArray(value.parts) || value.parts.length === 0) {
    throw refused(`* GenerateContentRequest.${at}.parts: contents.parts must not be empty.\n`);
  }
  const parts = value.parts.map((part, place) => {
    if (
      isObject(part) &&
      [
        'text',
        'inlineData',
        'fileData',
        'functionCall',
        'functionResponse',
        'executableCode',
        'codeExecutionResult',
        'toolCall',
        'toolResponse',
      ].some((field) => part[field] !== undefined)
    )
      return part;
    throw refused(`* GenerateContentRequest.${at}.parts[${place}].data: required oneof field 'data' must have one initialized field\n`);
  });
  return { role, parts };
}

function checkSignature(part: JsonObject, at: string): void {
  const signature = part.thoughtSignature;
  if (signature === undefined || WITHOUT_SIGNATURE.has(String(signature))) return;
  if (typeof signature !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(signature)) {
    throw refused(`Invalid value at '${at}.thought_signature' (TYPE_BYTES), Base64 decoding failed for "${String(signature)}"`);
  }
  // Bytes may come in either alphabet, whatever alphabet they were given in: Google's Python SDK sends them in the other one.
  const issued = Buffer.from(signature, 'base64').toString('base64');
  if (!isSigned('gemini thought', '', issued) && hash('sha256', signature) !== LANGCHAIN_SIGNATURE_SHA256)
    throw refused('Corrupted thought signature.');
}

/** What a tool's response says: its one text where it has only that, else its JSON. */
function responseText(response: JsonValue | undefined): string {
  if (!isObject(response)) return '';
  const entries = Object.entries(response);
  const [only] = entries;
  if (entries.length === 1 && typeof only?.[1] === 'string') return only[1];
  return JSON.stringify(response);
}

function readMedia(part: JsonObject, message: Message): void {
  const blob = isObject(part.inlineData) ? part.inlineData : isObject(part.fileData) ? part.fileData : null;
  if (blob === null) return;
  const type = typeof blob.mimeType === 'string' ? blob.mimeType : '';
  if (type.startsWith('image/')) message.images.push('auto');
  else if (type.startsWith('audio/')) message.audio.push(typeof blob.data === 'string' ? blob.data : '');
  else message.files += 1;
}

function checkMedia(part: JsonObject, at: string): void {
  const { inlineData: inline, fileData: file } = part;
  if (isObject(inline)) {
    if (typeof inline.mimeType !== 'string' || inline.mimeType === '')
      throw refused(`* GenerateContentRequest.${at}.inline_data.mime_type: must not be empty\n`);
    if (typeof inline.data !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(inline.data)) {
      throw refused(
        `Invalid value at '${at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed for "${String(inline.data).slice(0, 40)}"`,
      );
    }
  }
  if (
    isObject(file) &&
    (typeof file.fileUri !== 'string' ||
      !/^(gs:\/\/|https:\/\/generativelanguage\.googleapis\.com\/|https:\/\/(www\.)?youtube\.com\/|https:\/\/youtu\.be\/)/.test(
        file.fileUri,
      ))
  ) {
    throw refused(`Invalid or unsupported file uri: ${String(file.fileUri)}`);
  }
}

/** The call a response answers: that of its id, else the first of its name, else the next, that has none yet. */
function answeredCall(part: JsonObject, open: PastCall[]): PastCall | undefined {
  const given = isObject(part.functionResponse) ? part.functionResponse : {};
  const found = open.find(({ id }) => id === given.id) ?? open.find(({ name }) => name === given.name) ?? open[0];
  if (found !== undefined) open.splice(open.indexOf(found), 1);
  return found;
}

/** From the user's last own words on, the first call of each turn must carry the signature it was made with. */
function checkSigned(turns: Turn[]): void {
  const start = turns.findLastIndex(({ role, parts }) => role !== 'model' && parts.some((part) => part.functionResponse === undefined));
  turns.forEach(({ role, parts }, index) => {
    if (index < start || role !== 'model') return;
    const first = parts.find((part) => part.functionCall !== undefined);
    if (first === undefined || first.thoughtSignature !== undefined) return;
    const name = isObject(first.functionCall) ? String(first.functionCall.name) : '';
    throw refused(
      `Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call \`default_api:${name}\` , position ${index + 1}. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details.`,
    );
  });
}

/** Contents of one role behind each other are one turn: chats of Google's own clients keep each chunk of a stream as a content. */
function joined(contents: readonly Turn[]): Turn[] {
  const turns: Turn[] = [];
  for (const { role, parts } of contents) {
    const last = turns.at(-1);
    if (last?.role === role) last.parts.push(...parts);
    else turns.push({ role, parts: [...parts] });
  }
  return turns;
}

/** Reads the contents of a request, or throws the ApiError Google would answer. */
export function readContents(value: JsonValue | undefined, traits: Traits): Message[] {
  const given = isObject(value) ? [value] : value;
  if (!Array.isArray(given) || given.length === 0) throw refused('* GenerateContentRequest.contents: contents is not specified\n');
  const turns = joined(given.map(readTurn));
  const messages: Message[] = [];
  let open: PastCall[] = [];
  turns.forEach(({ role, parts }, index) => {
    const own = emptyMessage(role === 'model' ? 'assistant' : 'user');
    const responses = parts.filter((part) => part.functionResponse !== undefined).length;
    if (responses !== open.length) {
      throw refused(
        open.length === 0
          ? 'Please ensure that function response turn comes immediately after a function call turn.'
          : 'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.',
      );
    }
    let spoke = false;
    const calls: PastCall[] = [];
    parts.forEach((part, place) => {
      const at = `contents[${index}].parts[${place}]`;
      checkSignature(part, at);
      checkMedia(part, at);
      if (isObject(part.functionResponse)) {
        const { name, response } = part.functionResponse;
        if (typeof name !== 'string' || name === '') {
          throw refused(`* GenerateContentRequest.${at}.function_response.name: Name cannot be empty.\n`);
        }
        if (response !== undefined && !isObject(response)) {
          throw refused(
            `Invalid value at '${at}.function_response.response' (type.googleapis.com/google.protobuf.Struct), ${JSON.stringify(response)}`,
          );
        }
        const message = emptyMessage('tool');
        message.toolCallId = answeredCall(part, open)?.id ?? null;
        message.texts.push(responseText(response));
        const media = Array.isArray(part.functionResponse.parts) ? part.functionResponse.parts : [];
        if (media.length > 0 && !traits.third) throw refused('Multimodal function responses are not supported by this model.');
        for (const item of media) if (isObject(item)) readMedia(item, message);
        messages.push(message);
        return;
      }
      if (isObject(part.functionCall)) {
        const { name, args, id } = part.functionCall;
        if (typeof name !== 'string' || name === '') {
          throw refused(`* GenerateContentRequest.${at}.function_call.name: Name cannot be empty.\n`);
        }
        if (args !== undefined && !isObject(args)) {
          throw refused(
            `Invalid value at '${at}.function_call.args' (type.googleapis.com/google.protobuf.Struct), ${JSON.stringify(args)}`,
          );
        }
        calls.push({ id: typeof id === 'string' ? id : `${index}.${place}`, name, arguments: JSON.stringify(args ?? {}) });
      } else if (typeof part.text === 'string') {
        // Thoughts that come back are the model's own and count for nothing, and an empty text only carries a signature.
        if (part.thought !== true && part.text !== '') own.texts.push(part.text);
      } else readMedia(part, own);
      spoke = true;
    });
    own.calls.push(...calls);
    if (calls.length > 0 && role !== 'model') {
      throw refused('Please ensure that function call turn comes immediately after a user turn or after a function response turn.');
    }
    if (calls.length > 0 && index === 0) {
      throw refused('Please ensure that function call turn comes immediately after a user turn or after a function response turn.');
    }
    if (spoke) messages.push(own);
    open = calls;
  });
  if (open.length > 0) {
    throw refused(
      'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.',
    );
  }
  if (traits.needsSignatures) checkSigned(turns);
  return messages;
}
