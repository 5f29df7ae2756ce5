/** Whole answers in the canonical language, as an upstream of each dialect can give them. */
import type { Finish, FinishReason } from '@meridian/data-plane/canonical/finish';
import type { AudioPart, Citation, ImagePart, Part, ReasoningCarrier, ReasoningPart } from '@meridian/data-plane/canonical/message';
import type { Choice, Response } from '@meridian/data-plane/canonical/response';
import type { DialectName } from '@meridian/domain/dialect';
import type { Usage } from '@meridian/domain/usage';
import fc from 'fast-check';
import { argumentTexts, base64s, callIds, pngs, texts, toolNames, words } from './arbitrary-words.ts';

const NO_REST = {};
/** Of a name that no protocol has. */
const OTHERS = { vendor: { x: [1] } };

/** What proves a block of thinking to its issuer, as each dialect has it; `redacted` stands without a text. */
function carriersOf(dialect: DialectName, redacted: boolean): fc.Arbitrary<ReasoningCarrier> {
  switch (dialect) {
    case 'openai-chat':
      return base64s.map((data) => ({ dialect, value: [{ type: 'reasoning.encrypted', data, format: 'openai-responses-v1', index: 0 }] }));
    case 'openai-responses':
      return base64s.map((data) => ({ dialect, value: { id: 'rs_1', encrypted_content: `gAAAA${data}` } }));
    case 'anthropic-messages':
      return base64s.map((data) => ({
        dialect,
        value: redacted ? { type: 'redacted_thinking', data } : { type: 'thinking', signature: `Er${data}` },
      }));
    case 'gemini':
      return base64s.map((value) => ({ dialect, value }));
    default:
      return dialect satisfies never;
  }
}

/** A block of thinking: shown and perhaps proved, or proof alone. */
function thinking(dialect: DialectName): fc.Arbitrary<ReasoningPart> {
  const shown = fc.record({
    text: words,
    carriers: fc.option(
      carriersOf(dialect, false).map((one) => [one]),
      { nil: [] },
    ),
  });
  const hidden = carriersOf(dialect, true).map((one) => ({ text: '', carriers: [one] }));
  return fc
    .oneof({ weight: 2, arbitrary: shown }, { weight: 1, arbitrary: hidden })
    .map((block): ReasoningPart => ({ type: 'reasoning', ...block }));
}

function citations(text: string): fc.Arbitrary<readonly Citation[]> {
  const place = fc.tuple(fc.nat(text.length), fc.nat(text.length)).map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));
  const one = fc.record({
    url: fc.constantFrom('https://a.example/x?y=1', 'https://b.example/ü'),
    title: fc.option(words, { nil: undefined }),
    place: fc.option(place, { nil: { start: undefined, end: undefined } }),
  });
  return fc.array(one, { maxLength: 2 }).map((list) => list.map(({ url, title, place }) => ({ url, title, ...place, rest: NO_REST })));
}

function shifted(citation: Citation, by: number): Citation {
  const { start, end } = citation;
  return start === undefined || end === undefined ? citation : { ...citation, start: start + by, end: end + by };
}

const spoken: fc.Arbitrary<Part> = texts.map((text) => ({ type: 'text', text, citations: [], rest: NO_REST }));

const cited: fc.Arbitrary<Part> = fc
  .stringMatching(/^[a-z ]{1,20}$/)
  .chain((text) => citations(text).map((list): Part => ({ type: 'text', text, citations: list, rest: NO_REST })));

const pictures: fc.Arbitrary<ImagePart> = fc.tuple(pngs, fc.boolean()).map(([png, isPhoto]) => ({
  type: 'image',
  source: isPhoto ? { from: 'base64', mediaType: 'image/jpeg', data: `/9j/${png}` } : { from: 'base64', mediaType: 'image/png', data: png },
  detail: undefined,
  rest: NO_REST,
}));

const sounds: fc.Arbitrary<AudioPart> = fc.record({ data: base64s, transcript: fc.option(words, { nil: undefined }) }).map(
  ({ data, transcript }): AudioPart => ({
    type: 'audio',
    source: { from: 'base64', mediaType: 'audio/*', data },
    transcript,
    rest: NO_REST,
  }),
);

function calls(dialect: DialectName): fc.Arbitrary<Part> {
  const kept: fc.Arbitrary<readonly ReasoningCarrier[]> =
    dialect === 'gemini'
      ? base64s.map((value) => [{ dialect, value }])
      : dialect === 'openai-chat'
        ? base64s.map((data) => [{ dialect, value: { google: { thought_signature: data } } }])
        : fc.constant([]);
  return fc
    .record({
      id: callIds,
      name: toolNames,
      arguments: argumentTexts,
      carriers: fc.oneof(fc.constant([]), kept),
      hasOthers: fc.boolean(),
    })
    .map(
      ({ carriers, hasOthers, ...call }): Part => ({
        type: 'tool_call',
        kind: 'function',
        ...call,
        ...(carriers.length === 0 ? {} : { carriers }),
        rest: hasOthers ? OTHERS : NO_REST,
      }),
    );
}

/**
 * The parts of an answer, whose calls have ids of their own, and which speaks at most once. Sources stand at their places in all of the text,
 * and what declines cites none.
 */
function partsOf(dialect: DialectName): fc.Arbitrary<readonly Part[]> {
  const part = fc.oneof(
    { weight: 5, arbitrary: spoken },
    { weight: 2, arbitrary: cited },
    { weight: 3, arbitrary: thinking(dialect) },
    { weight: 1, arbitrary: words.map((text): Part => ({ type: 'refusal', text })) },
    { weight: 4, arbitrary: calls(dialect) },
    { weight: 1, arbitrary: pictures },
    { weight: 1, arbitrary: sounds },
  );
  return fc.array(part, { maxLength: 6 }).map((parts) => {
    const seen = new Set<string>();
    const declines = parts.some(({ type }) => type === 'refusal');
    let hasSpoken = false;
    let base = 0;
    return parts.flatMap((one, index): Part[] => {
      // Thinking that more thinking follows is one block with it.
      if (one.type === 'reasoning' && one.carriers.length === 0 && parts[index + 1]?.type === 'reasoning') return [];
      if (one.type === 'text') {
        const offset = base;
        base += one.text.length;
        return [{ ...one, citations: declines ? [] : one.citations.map((citation) => shifted(citation, offset)) }];
      }
      if (one.type === 'audio') {
        if (hasSpoken) return [];
        hasSpoken = true;
      }
      if (one.type !== 'tool_call') return [one];
      const id = seen.has(one.id) ? `${one.id}_${seen.size}` : one.id;
      seen.add(id);
      return [{ ...one, id }];
    });
  });
}

const FINISHES: readonly FinishReason[] = ['stop', 'stop_sequence', 'length', 'tool_calls', 'content_filter', 'pause'];

const finishes: fc.Arbitrary<Finish> = fc.record({ reason: fc.constantFrom(...FINISHES), sequence: words }).map(
  ({ reason, sequence }): Finish => ({
    reason,
    raw: `as_told_${reason}`,
    ...(reason === 'stop_sequence' ? { sequence } : {}),
  }),
);

const counts = fc.oneof(fc.nat(1_000), fc.constantFrom(0, 123_456_789));

const usages: fc.Arbitrary<Usage> = fc.record(
  {
    input: counts,
    output: counts,
    cached_input: counts,
    cache_write_5m: counts,
    cache_write_1h: counts,
    audio_in: counts,
    image_in: counts,
    audio_out: counts,
    image_out: counts,
    'per_tool_call:web_search': fc.integer({ min: 1, max: 9 }),
  },
  { requiredKeys: ['input', 'output'] },
);

function choices(dialect: DialectName): fc.Arbitrary<readonly Choice[]> {
  const one = fc.record({ parts: partsOf(dialect), finish: finishes, hasOthers: fc.boolean() });
  const most = dialect === 'openai-chat' || dialect === 'gemini' ? 2 : 1;
  return fc.array(one, { minLength: 1, maxLength: most }).map((list) =>
    list.map(({ parts, finish, hasOthers }, index) => ({
      index,
      parts,
      finish,
      logprobs: undefined,
      // Where a choice stands for the whole answer its other members are the answer's.
      rest: hasOthers && most > 1 ? OTHERS : NO_REST,
    })),
  );
}

/** Answers that were read in this dialect. */
export function answers(dialect: DialectName): fc.Arbitrary<Response> {
  return fc
    .record({
      choices: choices(dialect),
      createdSeconds: fc.option(fc.nat(2_000_000_000), { nil: undefined }),
      model: fc.constantFrom('a-model', 'vendor/model-1'),
      usage: fc.option(fc.record({ usage: usages, reasoningTokens: fc.option(counts, { nil: undefined }) }), { nil: undefined }),
      serviceTier: fc.constantFrom(undefined, 'standard', 'priority', 'flex', 'batch'),
      hasOthers: fc.boolean(),
    })
    .map(
      ({ hasOthers, usage, ...answer }): Response => ({
        dialect,
        id: 'answer_1',
        ...answer,
        usage:
          usage === undefined
            ? undefined
            : {
                usage: usage.usage,
                reasoningTokens: usage.reasoningTokens === undefined ? undefined : Math.min(usage.reasoningTokens, usage.usage.output ?? 0),
                raw: NO_REST,
              },
        rest: hasOthers ? OTHERS : NO_REST,
      }),
    );
}
