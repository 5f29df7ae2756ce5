/** What a client of each dialect sends with its next turn: the answer that it got, as its SDK stores it, and results for what was called. */
import type { Request } from '@meridian/data-plane/canonical/request';
import { parseExact } from '@meridian/data-plane/dialect/exact-json';
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import type { DialectName } from '@meridian/domain/dialect';

type Json = Readonly<Record<string, unknown>>;

/** Reads the turn after an answer, which stands in `body` as the client got it. */
export function nextTurn(client: DialectName, body: Buffer): Request {
  const answer = parseExact(body.toString('utf8')) as Json;
  const place = { model: 'a-model', stream: false };
  return dialectOf(client).decodeRequest(Buffer.from(JSON.stringify({ model: 'a-model', ...turnOf(client, answer) })), place);
}

function turnOf(client: DialectName, answer: Json): Json {
  switch (client) {
    case 'openai-chat': {
      const message = first(answer.choices).message as Json;
      const calls = list(message.tool_calls);
      return {
        messages: [
          { role: 'user', content: 'Hi' },
          message,
          ...calls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content: 'done' })),
          { role: 'user', content: 'Go on' },
        ],
      };
    }
    case 'openai-responses': {
      const output = list(answer.output);
      const calls = output.filter(({ type }) => type === 'function_call');
      return {
        input: [
          { role: 'user', content: 'Hi' },
          ...output,
          ...calls.map(({ call_id }) => ({ type: 'function_call_output', call_id, output: 'done' })),
          { role: 'user', content: 'Go on' },
        ],
      };
    }
    case 'anthropic-messages': {
      const content = list(answer.content);
      const calls = content.filter(({ type }) => type === 'tool_use');
      const results = calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: 'done' }));
      return {
        max_tokens: 100,
        messages: [
          { role: 'user', content: 'Hi' },
          ...(content.length === 0 ? [] : [{ role: 'assistant', content }]),
          { role: 'user', content: [...results, { type: 'text', text: 'Go on' }] },
        ],
      };
    }
    case 'gemini': {
      const content = first(answer.candidates).content as Json;
      const calls = list(content.parts).flatMap(({ functionCall }) => (functionCall === undefined ? [] : [functionCall as Json]));
      const results = calls.map(({ id, name }) => ({ functionResponse: { id, name, response: { output: 'done' } } }));
      return {
        contents: [{ role: 'user', parts: [{ text: 'Hi' }] }, content, { role: 'user', parts: [...results, { text: 'Go on' }] }],
      };
    }
    default:
      return client satisfies never;
  }
}

function list(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : [];
}

function first(value: unknown): Json {
  const [one] = list(value);
  if (one === undefined) throw new Error('an answer without a choice');
  return one;
}
