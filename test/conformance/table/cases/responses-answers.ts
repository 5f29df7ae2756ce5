/** Answers of an upstream that speaks OpenAI's Responses. */
import type { Json } from '../json.ts';
import type { AnswerCase } from './answer-case.ts';

const USAGE = {
  input_tokens: 100,
  input_tokens_details: { cached_tokens: 40, cache_write_tokens: 10 },
  output_tokens: 30,
  output_tokens_details: { reasoning_tokens: 12 },
  total_tokens: 130,
};
const UPSTREAM = 'openai-responses' as const;

function response(output: readonly Json[], more: Json = {}): Json {
  return {
    id: 'resp_1',
    object: 'response',
    created_at: 1_780_000_000,
    status: 'completed',
    background: false,
    error: null,
    incomplete_details: null,
    instructions: null,
    max_output_tokens: null,
    model: 'gpt-5.4-2026-03-05',
    output,
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: 'medium', summary: null },
    service_tier: 'default',
    store: false,
    temperature: 1,
    text: { format: { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    truncation: 'disabled',
    usage: USAGE,
    user: null,
    metadata: {},
    ...more,
  };
}

const message = (id: string, ...content: readonly Json[]): Json => ({
  id,
  type: 'message',
  status: 'completed',
  role: 'assistant',
  content,
});
const said = (text: string, annotations: readonly Json[] = []): Json => ({ type: 'output_text', text, annotations, logprobs: [] });
const call = (id: string, callId: string, args: string): Json => ({
  id,
  type: 'function_call',
  status: 'completed',
  call_id: callId,
  name: 'get_weather',
  arguments: args,
});
const reasoning = (id: string, summary: readonly string[], encrypted?: string): Json => ({
  id,
  type: 'reasoning',
  summary: summary.map((text) => ({ type: 'summary_text', text })),
  ...(encrypted === undefined ? {} : { encrypted_content: encrypted }),
});

const ENCRYPTED = `gAAAAA${'Bc_-'.repeat(60)}==`;

/** The whole stream of a response: each item with the events that it needs. */
function stream(output: readonly Json[], last: Json = { type: 'response.completed', response: response(output) }): Json[] {
  const begun = response([], { status: 'in_progress', usage: null });
  const events: Json[] = [
    { type: 'response.created', response: begun },
    { type: 'response.in_progress', response: begun },
    ...output.flatMap((item, index) => itemEvents(item, index)),
    last,
  ];
  return events.map((event, sequence) => ({ ...event, sequence_number: sequence }));
}

function itemEvents(item: Json, index: number): Json[] {
  const place = { output_index: index, item_id: item.id };
  const done: Json = { type: 'response.output_item.done', output_index: index, item };
  const added = (fields: Json): Json => ({ type: 'response.output_item.added', output_index: index, item: { ...item, ...fields } });
  switch (item.type) {
    case 'function_call': {
      const args = String(item.arguments);
      return [
        added({ arguments: '', status: 'in_progress' }),
        ...halves(args).map((delta) => ({ type: 'response.function_call_arguments.delta', ...place, delta })),
        { type: 'response.function_call_arguments.done', ...place, arguments: args },
        done,
      ];
    }
    case 'reasoning':
      return [
        added({ summary: [] }),
        ...(item.summary as readonly Json[]).flatMap((part, at) => [
          { type: 'response.reasoning_summary_part.added', ...place, summary_index: at, part: { ...part, text: '' } },
          ...halves(String(part.text)).map((delta) => ({
            type: 'response.reasoning_summary_text.delta',
            ...place,
            summary_index: at,
            delta,
          })),
          { type: 'response.reasoning_summary_text.done', ...place, summary_index: at, text: part.text },
          { type: 'response.reasoning_summary_part.done', ...place, summary_index: at, part },
        ]),
        done,
      ];
    default:
      return [
        added({ content: [], status: 'in_progress' }),
        ...(item.content as readonly Json[]).flatMap((part, at) => partEvents(part, { ...place, content_index: at })),
        done,
      ];
  }
}

function partEvents(part: Json, place: Json): Json[] {
  const isRefusal = part.type === 'refusal';
  const text = String(isRefusal ? part.refusal : part.text);
  const name = isRefusal ? 'refusal' : 'output_text';
  const annotations = (part.annotations as readonly Json[] | undefined) ?? [];
  return [
    { type: 'response.content_part.added', ...place, part: isRefusal ? { ...part, refusal: '' } : { ...part, text: '', annotations: [] } },
    ...halves(text).map((delta) => ({ type: `response.${name}.delta`, ...place, delta })),
    ...annotations.map((annotation, at) => ({
      type: 'response.output_text.annotation.added',
      ...place,
      annotation_index: at,
      annotation,
    })),
    { type: `response.${name}.done`, ...place, [isRefusal ? 'refusal' : 'text']: text },
    { type: 'response.content_part.done', ...place, part },
  ];
}

function halves(text: string): string[] {
  const middle = Math.floor(text.length / 2);
  return [text.slice(0, middle), text.slice(middle)].filter((half) => half !== '');
}

const TEXT = [message('msg_1', said('Grüße, 世界 there'))];
const CALLS = [
  reasoning('rs_1', ['They ask.', 'I look.'], ENCRYPTED),
  call('fc_1', 'call_a', '{"city":"Paris"}'),
  reasoning('rs_2', [], ENCRYPTED),
  call('fc_2', 'call_b', '{"city":"Rome"}'),
];
const INCOMPLETE = response(TEXT, { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
const FILTERED = response(TEXT, { status: 'incomplete', incomplete_details: { reason: 'content_filter' } });

export const RESPONSES_ANSWERS: readonly AnswerCase[] = [
  { number: 90, what: 'a text', upstream: UPSTREAM, body: response(TEXT) },
  { number: 90, what: 'a text', upstream: UPSTREAM, events: stream(TEXT) },
  { number: 2, what: 'calls with thinking between them', upstream: UPSTREAM, body: response(CALLS) },
  { number: 2, what: 'calls with thinking between them', upstream: UPSTREAM, events: stream(CALLS) },
  { number: 6, what: 'a call without arguments', upstream: UPSTREAM, events: stream([call('fc_1', 'call_a', '{}')]) },
  {
    number: 48,
    what: 'thinking that is encrypted',
    upstream: UPSTREAM,
    body: response([reasoning('rs_1', ['They ask.'], ENCRYPTED), ...TEXT]),
  },
  {
    number: 48,
    what: 'thinking that is encrypted',
    upstream: UPSTREAM,
    events: stream([reasoning('rs_1', ['They ask.', 'And so on.'], ENCRYPTED), ...TEXT]),
  },
  {
    number: 9,
    what: 'texts around a call',
    upstream: UPSTREAM,
    body: response([...TEXT, call('fc_1', 'call_a', '{}'), message('msg_2', said('Done'))]),
  },
  {
    number: 68,
    what: 'a refusal of the model',
    upstream: UPSTREAM,
    body: response([message('msg_1', { type: 'refusal', refusal: 'I cannot help.' })]),
  },
  {
    number: 68,
    what: 'a refusal of the model',
    upstream: UPSTREAM,
    events: stream([message('msg_1', { type: 'refusal', refusal: 'I cannot help.' })]),
  },
  { number: 72, what: 'the limit of output', upstream: UPSTREAM, body: INCOMPLETE },
  {
    number: 72,
    what: 'the limit of output',
    upstream: UPSTREAM,
    events: stream(TEXT, { type: 'response.incomplete', response: INCOMPLETE }),
  },
  { number: 72, what: 'a stop for safety', upstream: UPSTREAM, body: FILTERED },
  { number: 72, what: 'a stop for safety', upstream: UPSTREAM, events: stream(TEXT, { type: 'response.incomplete', response: FILTERED }) },
  {
    number: 81,
    what: 'sources that a text cites',
    upstream: UPSTREAM,
    body: response([
      message(
        'msg_1',
        said('The sun shines.', [{ type: 'url_citation', url: 'https://a.example/', title: 'A', start_index: 4, end_index: 7 }]),
      ),
    ]),
  },
  {
    number: 81,
    what: 'sources that a text cites',
    upstream: UPSTREAM,
    events: stream([
      message(
        'msg_1',
        said('The sun shines.', [{ type: 'url_citation', url: 'https://a.example/', title: 'A', start_index: 4, end_index: 7 }]),
      ),
    ]),
  },
  {
    number: 93,
    what: 'a response that fails',
    upstream: UPSTREAM,
    events: stream(TEXT, {
      type: 'response.failed',
      response: response([], { status: 'failed', usage: null, error: { code: 'server_error', message: 'It failed' } }),
    }),
  },
  {
    number: 93,
    what: 'an error within a stream',
    upstream: UPSTREAM,
    events: stream(TEXT, { type: 'error', code: 'server_error', message: 'It failed', param: null }),
  },
  { number: 94, what: 'a stream that ends without its end', upstream: UPSTREAM, events: stream(TEXT).slice(0, -1) },
  {
    number: 88,
    what: 'a mark at the end that is not of this dialect',
    upstream: UPSTREAM,
    events: [...stream(TEXT), 'data: [DONE]\n\n'],
  },
];
