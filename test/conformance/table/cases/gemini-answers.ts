/** Answers of an upstream that speaks Gemini's generateContent. */
import type { Json } from '../json.ts';
import type { AnswerCase } from './answer-case.ts';
import { PNG, unless } from './request-case.ts';

const USAGE = {
  promptTokenCount: 100,
  cachedContentTokenCount: 40,
  candidatesTokenCount: 18,
  thoughtsTokenCount: 12,
  totalTokenCount: 130,
};
const UPSTREAM = 'gemini' as const;
const SIGNATURE = Buffer.from('a signature of thoughts, long enough to be one'.repeat(3)).toString('base64');

function chunk(parts: readonly Json[], finishReason?: string, more: Json = {}): Json {
  return {
    candidates: [
      {
        content: { parts, role: 'model' },
        index: 0,
        ...(finishReason === undefined ? {} : { finishReason }),
        ...((more.candidate as Json) ?? {}),
      },
    ],
    usageMetadata: USAGE,
    modelVersion: 'gemini-3.1-pro-preview',
    responseId: 'response1',
  };
}

const call = (city: string, signature?: string): Json => ({
  functionCall: { name: 'get_weather', args: { city } },
  ...(signature === undefined ? {} : { thoughtSignature: signature }),
});

const withoutUsage = ({ usageMetadata: _, ...rest }: Json): Json => rest;

export const GEMINI_ANSWERS: readonly AnswerCase[] = [
  { number: 90, what: 'a text', upstream: UPSTREAM, body: chunk([{ text: 'Grüße, 世界 🙂' }], 'STOP') },
  {
    number: 90,
    what: 'a text',
    upstream: UPSTREAM,
    events: [chunk([{ text: 'Grüße, ' }]), chunk([{ text: '世界 🙂' }]), chunk([{ text: '' }], 'STOP')],
  },
  { number: 8, what: 'two calls, and a plain stop', upstream: UPSTREAM, body: chunk([call('Paris', SIGNATURE), call('Rome')], 'STOP') },
  {
    number: 3,
    what: 'calls in several chunks',
    upstream: UPSTREAM,
    events: [chunk([{ text: 'Looking.' }]), chunk([call('Paris', SIGNATURE)]), chunk([call('Rome')]), chunk([{ text: '' }], 'STOP')],
  },
  {
    number: 13,
    what: 'calls without ids get ids of their own',
    upstream: UPSTREAM,
    events: [chunk([call('Paris')]), chunk([call('Paris')], 'STOP')],
    check: (got, client) =>
      client === 'gemini' ? [] : unless(new Set(got.choices[0]?.calls.map(({ id }) => id)).size === 2, 'the ids are not two'),
  },
  {
    number: 6,
    what: 'a call without arguments',
    upstream: UPSTREAM,
    body: chunk([{ functionCall: { name: 'now' } }], 'STOP'),
  },
  {
    number: 20,
    what: 'a call that the model has spoilt',
    upstream: UPSTREAM,
    body: chunk([], 'MALFORMED_FUNCTION_CALL'),
    lost: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 45,
    what: 'thoughts and a signed call',
    upstream: UPSTREAM,
    body: chunk([{ text: 'They ask.', thought: true }, call('Paris', SIGNATURE)], 'STOP'),
  },
  {
    number: 47,
    what: 'an empty text that carries a signature',
    upstream: UPSTREAM,
    events: [chunk([{ text: 'Hi' }]), chunk([{ text: '', thoughtSignature: SIGNATURE }], 'STOP')],
  },
  { number: 68, what: 'a stop for safety', upstream: UPSTREAM, body: chunk([{ text: 'I' }], 'SAFETY') },
  { number: 68, what: 'a stop for recitation', upstream: UPSTREAM, events: [chunk([{ text: 'I' }]), chunk([], 'RECITATION')] },
  {
    number: 70,
    what: 'a prompt that is refused',
    upstream: UPSTREAM,
    body: {
      promptFeedback: { blockReason: 'PROHIBITED_CONTENT' },
      usageMetadata: { promptTokenCount: 10, totalTokenCount: 10 },
      modelVersion: 'gemini-3.1-pro-preview',
      responseId: 'response1',
    },
  },
  {
    number: 70,
    what: 'a prompt that is refused',
    upstream: UPSTREAM,
    events: [
      {
        promptFeedback: { blockReason: 'SAFETY' },
        usageMetadata: { promptTokenCount: 10, totalTokenCount: 10 },
        modelVersion: 'gemini-3.1-pro-preview',
        responseId: 'response1',
      },
    ],
  },
  {
    number: 71,
    what: 'all output was thought',
    upstream: UPSTREAM,
    body: {
      ...chunk([], 'MAX_TOKENS', { candidate: { content: { role: 'model' } } }),
      usageMetadata: { promptTokenCount: 10, thoughtsTokenCount: 20, totalTokenCount: 30 },
    },
    check: (got, client) => (client === 'openai-chat' ? unless(got.choices[0]?.ending === 'length', 'not the limit') : []),
  },
  {
    number: 74,
    what: 'tokens of tools of the provider',
    upstream: UPSTREAM,
    body: { ...chunk([{ text: 'Hi' }], 'STOP'), usageMetadata: { ...USAGE, toolUsePromptTokenCount: 7, totalTokenCount: 137 } },
  },
  {
    number: 77,
    what: 'usage that later chunks do not tell again',
    upstream: UPSTREAM,
    events: [
      chunk([{ text: 'Hi' }]),
      { ...chunk([{ text: ' there' }]), usageMetadata: { promptTokenCount: 100, candidatesTokenCount: 20, totalTokenCount: 132 } },
      withoutUsage(chunk([], 'STOP')),
    ],
  },
  {
    number: 57,
    what: 'two answers',
    upstream: UPSTREAM,
    body: {
      ...chunk([{ text: 'One' }], 'STOP'),
      candidates: [0, 1].map((index) => ({
        index,
        content: { role: 'model', parts: [{ text: `Answer ${index}` }] },
        finishReason: 'STOP',
      })),
    },
    unasked: { 'openai-responses': ['choices'], 'anthropic-messages': ['choices'] },
  },
  {
    number: 58,
    what: 'log probabilities',
    upstream: UPSTREAM,
    body: chunk([{ text: 'Hi' }], 'STOP', {
      candidate: {
        avgLogprobs: -0.1,
        logprobsResult: {
          chosenCandidates: [{ token: 'Hi', tokenId: 5, logProbability: -0.1 }],
          topCandidates: [{ candidates: [{ token: 'Hi', tokenId: 5, logProbability: -0.1 }] }],
        },
      },
    }),
    unasked: { 'anthropic-messages': ['logprobs'] },
    asked: { 'openai-responses': { include: ['message.output_text.logprobs'], top_logprobs: 1 } },
  },
  {
    number: 65,
    what: 'an image in the answer',
    upstream: UPSTREAM,
    body: chunk([{ text: 'Here' }, { inlineData: { mimeType: 'image/png', data: PNG } }], 'STOP'),
    lost: { 'anthropic-messages': ['media'] },
  },
  {
    number: 65,
    what: 'an image in the answer',
    upstream: UPSTREAM,
    events: [chunk([{ text: 'Here' }]), chunk([{ inlineData: { mimeType: 'image/png', data: PNG } }], 'STOP')],
    lost: { 'anthropic-messages': ['media'] },
  },
  {
    number: 81,
    what: 'sources that a text rests on',
    upstream: UPSTREAM,
    body: chunk([{ text: 'Ünd the sun shines.' }], 'STOP', {
      candidate: {
        groundingMetadata: {
          groundingChunks: [{ web: { uri: 'https://a.example/', title: 'A' } }],
          groundingSupports: [{ segment: { startIndex: 5, endIndex: 20, text: 'the sun shines.' }, groundingChunkIndices: [0] }],
          webSearchQueries: ['sun'],
        },
      },
    }),
    check: (got, client) => {
      // The provider counts bytes, everybody else characters.
      const [citation] = got.choices[0]?.citations ?? [];
      return client === 'openai-chat' || client === 'openai-responses'
        ? unless(citation?.start === 4 && citation.end === 19, `it cites ${citation?.start} to ${citation?.end}`)
        : [];
    },
  },
  { number: 94, what: 'a stream that ends without its end', upstream: UPSTREAM, events: [chunk([{ text: 'Hi' }])] },
  {
    number: 93,
    what: 'an error within a stream',
    upstream: UPSTREAM,
    events: [chunk([{ text: 'Hi' }]), { error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } }],
  },
];
