/** Answers of an upstream that speaks Anthropic's messages. */
import type { Json } from '../json.ts';
import type { AnswerCase } from './answer-case.ts';
import { unless } from './request-case.ts';

const USAGE = {
  input_tokens: 50,
  cache_read_input_tokens: 40,
  cache_creation_input_tokens: 10,
  cache_creation: { ephemeral_5m_input_tokens: 4, ephemeral_1h_input_tokens: 6 },
  output_tokens: 30,
  output_tokens_details: { thinking_tokens: 12 },
  service_tier: 'standard',
};
const UPSTREAM = 'anthropic-messages' as const;
/** As long and as odd as they come. */
const SIGNATURE = `EqQBCgIYAhIM${'a+/'.repeat(40)}==`;

function answer(content: readonly Json[], stopReason: string, more: Json = {}): Json {
  return {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-sonnet-4-5',
    content,
    stop_reason: stopReason,
    stop_sequence: null,
    usage: USAGE,
    ...more,
  };
}

const START: Json = {
  type: 'message_start',
  message: {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-sonnet-4-5',
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { ...USAGE, output_tokens: 1 },
  },
};
const PING: Json = { type: 'ping' };
const STOP: Json = { type: 'message_stop' };

const ended = (reason: string, sequence: string | null = null): Json => ({
  type: 'message_delta',
  delta: { stop_reason: reason, stop_sequence: sequence },
  usage: { output_tokens: 30, output_tokens_details: { thinking_tokens: 12 } },
});

function block(index: number, start: Json, ...deltas: readonly Json[]): Json[] {
  return [
    { type: 'content_block_start', index, content_block: start },
    ...deltas.map((delta) => ({ type: 'content_block_delta', index, delta })),
    { type: 'content_block_stop', index },
  ];
}

const text = (index: number, ...pieces: readonly string[]): Json[] =>
  block(index, { type: 'text', text: '' }, ...pieces.map((piece) => ({ type: 'text_delta', text: piece })));
const use = (index: number, id: string, ...pieces: readonly string[]): Json[] =>
  block(
    index,
    { type: 'tool_use', id, name: 'get_weather', input: {} },
    ...pieces.map((piece) => ({ type: 'input_json_delta', partial_json: piece })),
  );

export const MESSAGES_ANSWERS: readonly AnswerCase[] = [
  { number: 90, what: 'a text', upstream: UPSTREAM, body: answer([{ type: 'text', text: 'Grüße, 世界 🙂' }], 'end_turn') },
  { number: 90, what: 'a text', upstream: UPSTREAM, events: [START, PING, ...text(0, 'Grüße, ', '世界 🙂'), ended('end_turn'), STOP] },
  {
    number: 68,
    what: 'a stop sequence',
    upstream: UPSTREAM,
    body: answer([{ type: 'text', text: 'Hi' }], 'stop_sequence', { stop_sequence: 'END' }),
  },
  {
    number: 68,
    what: 'a stop sequence',
    upstream: UPSTREAM,
    events: [START, ...text(0, 'Hi'), ended('stop_sequence', 'END'), STOP],
  },
  { number: 68, what: 'the limit of output', upstream: UPSTREAM, body: answer([{ type: 'text', text: 'Hi' }], 'max_tokens') },
  {
    number: 68,
    what: 'the limit of the context',
    upstream: UPSTREAM,
    body: answer([{ type: 'text', text: 'Hi' }], 'model_context_window_exceeded'),
  },
  { number: 68, what: 'a refusal', upstream: UPSTREAM, body: answer([{ type: 'text', text: 'Hi' }], 'refusal') },
  { number: 68, what: 'a refusal', upstream: UPSTREAM, events: [START, ...text(0, 'Hi'), ended('refusal'), STOP] },
  {
    number: 68,
    what: 'a turn that pauses is no plain stop',
    upstream: UPSTREAM,
    body: answer([{ type: 'text', text: 'Hi' }], 'pause_turn'),
  },
  {
    number: 1,
    what: 'a text and two calls',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'text', text: 'Looking.' },
        { type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: { city: 'Paris' } },
        { type: 'tool_use', id: 'toolu_b', name: 'get_weather', input: { city: 'Rome' } },
      ],
      'tool_use',
    ),
  },
  {
    number: 1,
    what: 'a text and two calls',
    upstream: UPSTREAM,
    events: [
      START,
      ...text(0, 'Look', 'ing.'),
      ...use(1, 'toolu_a', '', '{"city":', ' "Paris"}'),
      ...use(2, 'toolu_b', '', '{"city": "Rome"}'),
      ended('tool_use'),
      STOP,
    ],
  },
  {
    number: 9,
    what: 'a text between two calls',
    upstream: UPSTREAM,
    events: [START, ...use(0, 'toolu_a', '{}'), ...text(1, 'And now'), ...use(2, 'toolu_b', '{"city":"Rome"}'), ended('tool_use'), STOP],
  },
  { number: 6, what: 'a call without arguments', upstream: UPSTREAM, events: [START, ...use(0, 'toolu_a', ''), ended('tool_use'), STOP] },
  {
    number: 7,
    what: 'a call begins with an empty delta',
    upstream: UPSTREAM,
    events: [START, ...use(0, 'toolu_a', '', '{"city":"Paris"}'), ended('tool_use'), STOP],
    check: (_got, client, bytes) => (client === 'openai-chat' ? unless(!bytes.includes('"arguments":null'), 'arguments are null') : []),
  },
  {
    number: 39,
    what: 'thinking with its signature',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'thinking', thinking: 'They greet.', signature: SIGNATURE },
        { type: 'text', text: 'Hi' },
      ],
      'end_turn',
    ),
  },
  {
    number: 41,
    what: 'thinking with its signature',
    upstream: UPSTREAM,
    events: [
      START,
      ...block(
        0,
        { type: 'thinking', thinking: '', signature: '' },
        { type: 'thinking_delta', thinking: 'They ' },
        { type: 'thinking_delta', thinking: 'greet.' },
        { type: 'signature_delta', signature: SIGNATURE },
      ),
      ...text(1, 'Hi'),
      ended('end_turn'),
      STOP,
    ],
  },
  {
    number: 40,
    what: 'a signature alone',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'thinking', thinking: '', signature: SIGNATURE },
        { type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: {} },
      ],
      'tool_use',
    ),
  },
  {
    number: 42,
    what: 'thinking that is hidden',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'redacted_thinking', data: SIGNATURE },
        { type: 'thinking', thinking: 'Second.', signature: 'abc=' },
        { type: 'tool_use', id: 'toolu_a', name: 'get_weather', input: { city: 'Rome' } },
      ],
      'tool_use',
    ),
  },
  {
    number: 42,
    what: 'thinking that is hidden',
    upstream: UPSTREAM,
    events: [
      START,
      ...block(0, { type: 'redacted_thinking', data: SIGNATURE }),
      ...use(1, 'toolu_a', '{"city":"Rome"}'),
      ended('tool_use'),
      STOP,
    ],
  },
  {
    number: 77,
    what: 'usage that the last event tells again, in part',
    upstream: UPSTREAM,
    events: [
      START,
      ...text(0, 'Hi'),
      { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { input_tokens: 60, output_tokens: 25 } },
      STOP,
    ],
  },
  {
    number: 81,
    what: 'sources that a text cites',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'text', text: 'So ' },
        {
          type: 'text',
          text: 'the sun shines.',
          citations: [
            { type: 'web_search_result_location', url: 'https://a.example/', title: 'A', encrypted_index: 'x', cited_text: 'sun' },
          ],
        },
      ],
      'end_turn',
    ),
  },
  {
    number: 81,
    what: 'sources that a text cites',
    upstream: UPSTREAM,
    events: [
      START,
      ...text(0, 'So '),
      ...block(
        1,
        { type: 'text', text: '', citations: [] },
        {
          type: 'citations_delta',
          citation: { type: 'web_search_result_location', url: 'https://a.example/', title: 'A', encrypted_index: 'x', cited_text: 'sun' },
        },
        { type: 'text_delta', text: 'the sun shines.' },
      ),
      ended('end_turn'),
      STOP,
    ],
  },
  {
    number: 18,
    what: 'calls of tools that the provider runs are its own',
    upstream: UPSTREAM,
    body: answer(
      [
        { type: 'server_tool_use', id: 'srvtoolu_1', name: 'web_search', input: { query: 'x' } },
        { type: 'web_search_tool_result', tool_use_id: 'srvtoolu_1', content: [] },
        { type: 'text', text: 'Found.' },
      ],
      'end_turn',
    ),
    lost: { 'openai-chat': ['foreign'], 'openai-responses': ['foreign'], gemini: ['foreign'] },
  },
  { number: 94, what: 'a stream that ends without its end', upstream: UPSTREAM, events: [START, ...text(0, 'Hi')] },
  { number: 94, what: 'a stream without its last event', upstream: UPSTREAM, events: [START, ...text(0, 'Hi'), ended('end_turn')] },
  {
    number: 93,
    what: 'an error within a stream',
    upstream: UPSTREAM,
    events: [
      START,
      { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
      { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hi' } },
      { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } },
    ],
  },
  {
    number: 95,
    what: 'events that nobody knows, and data with blanks behind it',
    upstream: UPSTREAM,
    events: [
      START,
      { type: 'an_event_of_tomorrow', value: 1 },
      ...text(0, 'Hi'),
      `event: message_delta\ndata: ${JSON.stringify(ended('end_turn'))}                    \n\n`,
      STOP,
    ],
  },
];
