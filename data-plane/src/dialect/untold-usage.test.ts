/** Where an upstream tells no usage, the client is told the counts that it is charged for. */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { describe, expect, it } from 'vitest';
import type { Lane } from './lane.ts';
import { passThroughLane } from './pass-through-lane.ts';
import { dialectOf } from './registry.ts';
import { translatedEmbeddings, translatedLane } from './translated-lane.ts';

const TERMS = { requestId: 'req_1', createdSeconds: 1, estimatedInputTokens: 25 };
const EDITS = { model: undefined, costUsdLiteral: '0.5', estimatedInputTokens: 25 };
/** Of 40 bytes, so ten tokens. */
const TEXT = 'ten tokens of text that nobody has count';

const asked = (dialect: DialectName, stream: boolean): object => {
  const messages = [{ role: 'user', content: 'Hi' }];
  switch (dialect) {
    case 'openai-chat':
      return { model: 'm', messages, ...(stream ? { stream, stream_options: { include_usage: true } } : {}) };
    case 'openai-responses':
      return { model: 'm', input: 'Hi', stream };
    case 'anthropic-messages':
      return { model: 'm', max_tokens: 10, messages, stream };
    default:
      return { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] };
  }
};

const OUTPUT = { type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: TEXT }] };
const CANDIDATE = { index: 0, content: { role: 'model', parts: [{ text: TEXT }] }, finishReason: 'STOP' };

const ANSWERS: Readonly<Record<DialectName, object>> = {
  'openai-chat': { id: 'c', model: 'm', choices: [{ index: 0, message: { role: 'assistant', content: TEXT }, finish_reason: 'stop' }] },
  'openai-responses': { id: 'r', object: 'response', model: 'm', status: 'completed', output: [OUTPUT], usage: null },
  'anthropic-messages': {
    id: 'a',
    type: 'message',
    role: 'assistant',
    model: 'm',
    content: [{ type: 'text', text: TEXT }],
    stop_reason: 'end_turn',
  },
  gemini: { candidates: [CANDIDATE], modelVersion: 'm' },
};

const named = (events: readonly Readonly<Record<string, unknown>>[]): string =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('');
const chunk = (delta: object, finish_reason: string | null): string =>
  `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 7, model: 'm', choices: [{ index: 0, delta, finish_reason }] })}\n\n`;

const STREAMS: Readonly<Record<DialectName, string>> = {
  'openai-chat': `${chunk({ role: 'assistant', content: TEXT }, null)}${chunk({}, 'stop')}data: [DONE]\n\n`,
  'openai-responses': named([
    { type: 'response.created', response: { id: 'r', model: 'm', status: 'in_progress', output: [] } },
    { type: 'response.output_item.added', output_index: 0, item: { ...OUTPUT, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', output_index: 0, content_index: 0, part: { type: 'output_text', text: '' } },
    { type: 'response.output_text.delta', output_index: 0, content_index: 0, delta: TEXT },
    { type: 'response.output_item.done', output_index: 0, item: OUTPUT },
    { type: 'response.completed', response: ANSWERS['openai-responses'] },
  ]),
  'anthropic-messages': named([
    { type: 'message_start', message: { ...ANSWERS['anthropic-messages'], content: [], stop_reason: null } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: TEXT } },
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' } },
    { type: 'message_stop' },
  ]),
  gemini: `data: ${JSON.stringify(ANSWERS.gemini)}\n\n`,
};

/** As each dialect tells 25 tokens in, 10 out, and the cost. */
const TOLD: Readonly<Record<DialectName, object>> = {
  'openai-chat': { prompt_tokens: 25, completion_tokens: 10, total_tokens: 35, cost_usd: 0.5 },
  'openai-responses': { input_tokens: 25, output_tokens: 10, total_tokens: 35, cost_usd: 0.5 },
  'anthropic-messages': { input_tokens: 25, output_tokens: 10, cost_usd: 0.5 },
  gemini: { promptTokenCount: 25, candidatesTokenCount: 10, totalTokenCount: 35, costUsd: 0.5 },
};

const bytesOf = (value: object): Buffer => Buffer.from(JSON.stringify(value));

function laneOf(client: DialectName, upstream: DialectName, stream: boolean, terms = TERMS): Lane {
  const dialect = dialectOf(client);
  const place = { model: 'm', stream };
  const body = bytesOf(asked(client, stream));
  if (client !== upstream) return translatedLane(dialect, dialectOf(upstream), dialect.decodeRequest(body, place), terms);
  return passThroughLane(dialect, 'chat', dialect.readPassThrough('chat', body, place), place);
}

/** The last usage object among the bytes. */
function usageIn(text: string): unknown {
  const found = [...text.matchAll(/"(?:usage|usageMetadata)":(\{(?:[^{}]|\{[^{}]*\})*\})/g)].at(-1)?.[1];
  return found === undefined ? undefined : JSON.parse(found);
}

function streamed(lane: Lane, upstream: DialectName, estimatedInputTokens?: number): string {
  const told = estimatedInputTokens === undefined ? {} : { estimatedInputTokens };
  const stream = lane.stream({ wantsStreamUsage: true, model: undefined, ...told });
  stream.push(Buffer.from(STREAMS[upstream]));
  stream.close();
  expect(stream.end).toEqual({ state: 'finished' });
  // It is settled as an estimate all the same.
  expect(stream.facts.usage).toBeUndefined();
  expect(stream.facts.countedOutputTokens).toBe(10);
  return Buffer.concat([...stream.take(), ...stream.terminal('0.5')]).toString();
}

const PAIRS = DIALECT_NAMES.flatMap((client) => DIALECT_NAMES.map((upstream) => [client, upstream] as const)).filter(
  // These providers tell their own clients always.
  ([client, upstream]) => client !== upstream || client === 'openai-chat',
);

describe('usage that an upstream does not tell', () => {
  it.each(PAIRS)('is told to a client of %s by %s as it is charged', (client, upstream) => {
    const { facts, rewrite } = laneOf(client, upstream, false).answer(bytesOf(ANSWERS[upstream]), { model: undefined });
    expect(facts.usage).toBeUndefined();
    expect(facts.countedOutputTokens).toBe(10);
    const text = Buffer.concat(rewrite(EDITS).body as Buffer[]).toString();
    expect(usageIn(text)).toMatchObject(TOLD[client]);
    expect(JSON.parse(text)).toBeTypeOf('object');
  });

  it.each(PAIRS)('is told in a stream to a client of %s by %s', (client, upstream) => {
    expect(usageIn(streamed(laneOf(client, upstream, true), upstream, 25))).toMatchObject(TOLD[client]);
  });

  it.each(DIALECT_NAMES)('is told to a client of %s where it was told once, before the text', (client) => {
    const early = `data: ${JSON.stringify({ id: 'c', model: 'm', choices: [], usage: { prompt_tokens: 7, completion_tokens: 1, total_tokens: 8 } })}\n\n`;
    const text = Array.from({ length: 10 }, () => chunk({ content: 'four' }, null)).join('');
    const stream = laneOf(client, 'openai-chat', true).stream({ wantsStreamUsage: true, model: undefined, estimatedInputTokens: 25 });
    stream.push(Buffer.from(`${chunk({ role: 'assistant', content: 'a' }, null)}${early}${text}${chunk({}, 'stop')}data: [DONE]\n\n`));
    const { usage, usageIsInterim, countedOutputTokens } = stream.facts;
    expect([usage, usageIsInterim]).toEqual([{ input: 7, output: 1 }, true]);
    const told = usageIn(Buffer.concat([...stream.take(), ...stream.terminal('0.5')]).toString());
    expect(Object.values(told as object)).toEqual(expect.arrayContaining([7, countedOutputTokens, 0.5]));
    expect(countedOutputTokens).toBe(11);
  });

  it('is told in a chunk of the stream itself', () => {
    const text = streamed(laneOf('openai-chat', 'openai-chat', true), 'openai-chat', 25);
    const last = JSON.parse(text.trim().split('\n\n').at(-2)?.slice('data: '.length) ?? '');
    expect(last).toMatchObject({
      id: 'c',
      object: 'chat.completion.chunk',
      created: 7,
      model: 'm',
      choices: [],
      usage: TOLD['openai-chat'],
    });
  });

  it.each(['{}', '{"usage":null}', '{"choices":[],"usage":{}} ', '{"choices":[]}\n'])('is written into %s', (body) => {
    const { rewrite } = dialectOf('openai-chat').readAnswer('chat', Buffer.from(body));
    const answer = JSON.parse(Buffer.concat(rewrite(EDITS).body as Buffer[]).toString());
    expect(answer.usage).toEqual({ prompt_tokens: 25, completion_tokens: 0, total_tokens: 25, cost_usd: 0.5 });
  });

  it('is told of embeddings', () => {
    const client = dialectOf('openai-chat');
    const upstream = dialectOf('gemini');
    const body = bytesOf({ model: 'm', input: 'Hi' });
    if (client.embeddings === undefined) throw new Error('chat has embeddings');
    const lane = translatedEmbeddings(
      client.embeddings,
      upstream,
      client.embeddings.decodeRequest(body, { model: 'm', stream: false }),
      TERMS,
    );
    const answer = lane.answer(bytesOf({ embeddings: [{ values: [0.5, 1] }] }), { model: undefined });
    expect(answer.facts.usage).toBeUndefined();
    const told = usageIn(Buffer.concat(answer.rewrite(EDITS).body as Buffer[]).toString());
    expect(told).toEqual({ prompt_tokens: 25, total_tokens: 25, cost_usd: 0.5 });
    const own = dialectOf('openai-chat').readAnswer('embeddings', bytesOf({ object: 'list', data: [{ index: 0, embedding: [1] }] }));
    expect(usageIn(Buffer.concat(own.rewrite(EDITS).body as Buffer[]).toString())).toEqual(told);
  });
});
