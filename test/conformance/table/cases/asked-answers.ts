/** Answers that only make sense to the request that they answer. */
import { boundedToolName } from '@meridian/data-plane/canonical/tool-name';
import type { AnswerCase } from './answer-case.ts';
import { unless, WEATHER_SCHEMA } from './request-case.ts';

const LONG_NAME = `mcp__server__${'a_very_long_name_'.repeat(5)}end`;
const BOUNDED_NAME = boundedToolName(LONG_NAME);
const PATCH = '*** Begin Patch\n"quoted" and \\ more\n*** End Patch';

const MESSAGE = { id: 'msg_1', type: 'message', role: 'assistant', model: 'claude-sonnet-4-0', stop_sequence: null };
const MESSAGE_USAGE = { input_tokens: 10, output_tokens: 5 };

const namedLong: AnswerCase['check'] = (got) =>
  unless(got.choices[0]?.calls[0]?.name === LONG_NAME, `the tool is called ${got.choices[0]?.calls[0]?.name}`);
const longTools: AnswerCase['asked'] = {
  'anthropic-messages': { tools: [{ name: LONG_NAME, input_schema: WEATHER_SCHEMA }] },
  gemini: { tools: [{ functionDeclarations: [{ name: LONG_NAME, parametersJsonSchema: WEATHER_SCHEMA }] }] },
};
const rawPatch: AnswerCase['check'] = (got, client) => {
  const call = got.choices[0]?.calls[0];
  const knows = client === 'openai-responses' || client === 'openai-chat';
  return knows ? unless(call?.kind === 'custom' && call.arguments === PATCH, `it is ${call?.kind}: ${call?.arguments}`) : [];
};
const customTools: AnswerCase['asked'] = {
  'openai-responses': { tools: [{ type: 'custom', name: 'apply_patch' }] },
  'openai-chat': { tools: [{ type: 'custom', custom: { name: 'apply_patch' } }] },
};

export const ASKED_ANSWERS: readonly AnswerCase[] = [
  {
    number: 14,
    what: 'the tool is called by the name that the client gave it',
    upstream: 'openai-chat',
    body: {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1_780_000_000,
      model: 'm',
      choices: [
        {
          index: 0,
          finish_reason: 'tool_calls',
          message: {
            role: 'assistant',
            content: null,
            tool_calls: [{ id: 'call_a', type: 'function', function: { name: BOUNDED_NAME, arguments: '{"city":"Paris"}' } }],
          },
        },
      ],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
    },
    asked: longTools,
    onlyFor: ['anthropic-messages', 'gemini'],
    unasked: { 'anthropic-messages': ['calls'], gemini: ['calls'] },
    check: namedLong,
  },
  {
    number: 17,
    what: 'a custom tool is called with its raw text',
    upstream: 'anthropic-messages',
    body: {
      ...MESSAGE,
      content: [{ type: 'tool_use', id: 'toolu_a', name: 'apply_patch', input: { input: PATCH } }],
      stop_reason: 'tool_use',
      usage: MESSAGE_USAGE,
    },
    asked: customTools,
    onlyFor: ['openai-chat', 'openai-responses'],
    unasked: { 'openai-chat': ['calls'], 'openai-responses': ['calls'] },
    check: rawPatch,
  },
  {
    number: 17,
    what: 'a custom tool is called with its raw text',
    upstream: 'gemini',
    events: [
      {
        candidates: [
          {
            index: 0,
            content: { role: 'model', parts: [{ functionCall: { name: 'apply_patch', args: { input: PATCH } } }] },
            finishReason: 'STOP',
          },
        ],
        usageMetadata: { promptTokenCount: 10, candidatesTokenCount: 5, totalTokenCount: 15 },
        modelVersion: 'm',
        responseId: 'r',
      },
    ],
    asked: customTools,
    onlyFor: ['openai-chat', 'openai-responses'],
    unasked: { 'openai-chat': ['calls'], 'openai-responses': ['calls'] },
    check: rawPatch,
  },
  {
    number: 61,
    what: 'a call of the tool that stands for a format is the text of the answer',
    upstream: 'anthropic-messages',
    body: {
      ...MESSAGE,
      content: [{ type: 'tool_use', id: 'toolu_a', name: 'meridian_json_answer', input: { city: 'Paris' } }],
      stop_reason: 'tool_use',
      usage: MESSAGE_USAGE,
    },
    asked: {
      'openai-chat': { response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: WEATHER_SCHEMA } } },
      'openai-responses': { text: { format: { type: 'json_schema', name: 'weather', schema: WEATHER_SCHEMA } } },
      gemini: { generationConfig: { responseMimeType: 'application/json', responseJsonSchema: WEATHER_SCHEMA } },
    },
    onlyFor: ['openai-chat', 'openai-responses', 'gemini'],
    unasked: {
      'openai-chat': ['calls', 'text', 'ending'],
      'openai-responses': ['calls', 'text', 'ending'],
      gemini: ['calls', 'text', 'ending'],
    },
    isFinal: true,
    check: (got) => {
      const [choice] = got.choices;
      return unless(
        choice?.text === '{"city":"Paris"}' && choice.calls.length === 0 && choice.ending === 'stop',
        `it is ${choice?.text}, ${choice?.ending}`,
      );
    },
  },
];
