/** The same question in the words of each client's dialect, and how far its answer came. */
import type { DialectName } from '@meridian/domain/dialect';

export interface Question {
  readonly model: string;
  readonly text: string;
  readonly stream: boolean;
  readonly maxTokens: number;
  /** `tool`: a call is forced · `reasoning`: of low effort · `long`: behind a text that providers cache. */
  readonly kind: 'plain' | 'tool' | 'reasoning' | 'long';
}

export interface Call {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `whole`: to its last event · `error`: an error ends it · `cut`: it just ends. */
export type Ending = 'whole' | 'error' | 'cut';

interface ClientDialect {
  call(question: Question, key: string): Call;
  /** In a stream. */
  readonly whole: RegExp;
  readonly error: RegExp;
}

const TOOL_NAME = 'lookup';
const TOOL_TEXT = 'Look something up';
const TOOL_SCHEMA = { type: 'object', properties: { term: { type: 'string' } }, required: ['term'] };
/** Of Anthropic, the least it takes. */
const THINKING_TOKENS = 1_024;
/** Above the 1,024 tokens from which prompts are cached. */
const LONG_TEXT = 'These are the rules of the house, at length. '.repeat(110);

const json = { 'content-type': 'application/json' };

const DIALECTS: Readonly<Record<DialectName, ClientDialect>> = {
  'openai-chat': {
    call: ({ model, text, stream, maxTokens, kind }, key) => ({
      path: '/v1/chat/completions',
      headers: { ...json, authorization: `Bearer ${key}` },
      body: JSON.stringify({
        model,
        max_tokens: maxTokens,
        messages: [...(kind === 'long' ? [{ role: 'system', content: LONG_TEXT }] : []), { role: 'user', content: text }],
        ...(kind === 'reasoning' ? { reasoning_effort: 'low' } : {}),
        ...(kind === 'tool'
          ? {
              tools: [{ type: 'function', function: { name: TOOL_NAME, description: TOOL_TEXT, parameters: TOOL_SCHEMA } }],
              tool_choice: 'required',
            }
          : {}),
        ...(stream ? { stream } : {}),
      }),
    }),
    whole: /"finish_reason":\s*"/,
    error: /^data: \{"error"/m,
  },
  'openai-responses': {
    call: ({ model, text, stream, maxTokens, kind }, key) => ({
      path: '/v1/responses',
      headers: { ...json, authorization: `Bearer ${key}` },
      body: JSON.stringify({
        model,
        max_output_tokens: maxTokens,
        input: text,
        ...(kind === 'long' ? { instructions: LONG_TEXT } : {}),
        ...(kind === 'reasoning' ? { reasoning: { effort: 'low' } } : {}),
        ...(kind === 'tool'
          ? { tools: [{ type: 'function', name: TOOL_NAME, description: TOOL_TEXT, parameters: TOOL_SCHEMA }], tool_choice: 'required' }
          : {}),
        ...(stream ? { stream } : {}),
      }),
    }),
    whole: /^event: response\.(completed|incomplete)\n.*\n\n/m,
    error: /^event: (error|response\.failed)$/m,
  },
  'anthropic-messages': {
    call: ({ model, text, stream, maxTokens, kind }, key) => ({
      path: '/v1/messages',
      headers: { ...json, 'x-api-key': key, 'anthropic-version': '2023-06-01' },
      body: JSON.stringify({
        model,
        max_tokens: kind === 'reasoning' ? THINKING_TOKENS + maxTokens : maxTokens,
        messages: [{ role: 'user', content: text }],
        ...(kind === 'long' ? { system: [{ type: 'text', text: LONG_TEXT, cache_control: { type: 'ephemeral' } }] } : {}),
        ...(kind === 'reasoning' ? { thinking: { type: 'enabled', budget_tokens: THINKING_TOKENS } } : {}),
        ...(kind === 'tool'
          ? { tools: [{ name: TOOL_NAME, description: TOOL_TEXT, input_schema: TOOL_SCHEMA }], tool_choice: { type: 'any' } }
          : {}),
        ...(stream ? { stream } : {}),
      }),
    }),
    whole: /^event: message_stop$/m,
    error: /^event: error$/m,
  },
  gemini: {
    call: ({ model, text, stream, maxTokens, kind }, key) => ({
      path: `/genai/v1beta/models/${model}:${stream ? 'streamGenerateContent?alt=sse' : 'generateContent'}`,
      headers: { ...json, 'x-goog-api-key': key },
      body: JSON.stringify({
        contents: [{ role: 'user', parts: [{ text }] }],
        ...(kind === 'long' ? { systemInstruction: { parts: [{ text: LONG_TEXT }] } } : {}),
        generationConfig: { maxOutputTokens: maxTokens, ...(kind === 'reasoning' ? { thinkingConfig: { thinkingLevel: 'low' } } : {}) },
        ...(kind === 'tool'
          ? {
              tools: [{ functionDeclarations: [{ name: TOOL_NAME, description: TOOL_TEXT, parameters: TOOL_SCHEMA }] }],
              toolConfig: { functionCallingConfig: { mode: 'ANY' } },
            }
          : {}),
      }),
    }),
    whole: /"finishReason":\s*"/,
    error: /^data: \{"error"/m,
  },
};

export const CLIENT_DIALECTS = Object.keys(DIALECTS) as readonly DialectName[];

export function callOf(dialect: DialectName, question: Question, key: string): Call {
  return DIALECTS[dialect].call(question, key);
}

/** Of the bytes of a stream with status 200, as text. */
export function endingOf(dialect: DialectName, body: string): Ending {
  const { whole, error } = DIALECTS[dialect];
  if (error.test(body)) return 'error';
  return whole.test(body) ? 'whole' : 'cut';
}
